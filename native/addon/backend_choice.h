// Which backend an engine runs on, and how to make another one of its kind.
#pragma once
#include <memory>
#include <string>

#include "backend.h"
#include "learn/step_takers.h"

namespace foretoken::addon {

struct BackendChoice {
  std::string backend;  ///< "cpu" or "cuda"
  int threads = 0;      ///< 0 = physical cores
  std::string isa;      ///< of the CPU, "" = best

  /// Throws what createCpuBackend and createCudaBackend do.
  std::unique_ptr<Backend> create() const;
  /// Who takes steps of heads that learn beside such a backend. Throws what createCudaBackend does.
  learn::StepTakers stepTakers() const;
  /// What computes, for people and as part of what measured prices are kept by: instruction set or name of the device.
  std::string processor() const;
  /// Resolves 0.
  int threadCount() const;
  /// The same with at most half of the threads: to pack weights beside a running engine.
  BackendChoice beside() const;
};

}  // namespace foretoken::addon
