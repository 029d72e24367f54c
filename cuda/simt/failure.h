// What stops a launch: a kernel that did something no GPU would carry out as meant.
#pragma once
#include <stdexcept>

namespace foretoken::simt {

/// Thrown by a launch. The message names block and thread, and where they were in the source.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace foretoken::simt
