// Starting threads, of which a system may have no more to give.
#pragma once
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "common/error.h"

namespace foretoken {

/// A thread that does `work`; `what` is what errors say that it is for. Throws OUT_OF_MEMORY where there is none.
template <class Work>
std::thread startThread(const std::string& what, Work work) {
  try {
    return std::thread(std::move(work));
  } catch (const std::system_error& error) {
    throw Error("OUT_OF_MEMORY", "the system gives this process no thread for " + what + " (" + error.code().message() +
                                     "): ask for fewer `threads`, or raise its limits of threads and memory");
  }
}

}  // namespace foretoken
