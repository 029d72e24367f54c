// Without the library beside the program, CUDA is unavailable with a code and a reason, however often one asks.
#include "common/cuda_library.h"

#include <string>

#include "check.h"
#include "common/error.h"

namespace {

std::string codeOf(auto function, std::string& message) {
  try {
    function();
  } catch (const foretoken::Error& error) {
    message = error.what();
    return error.code();
  }
  return "";
}

}  // namespace

int main() {
  for (int attempt = 0; attempt < 2; ++attempt) {
    std::string message;
    CHECK(codeOf([] { foretoken::CudaLibrary::open(); }, message) == "CUDA_UNAVAILABLE");
    CHECK(message.find("libforetoken_cuda.so") != std::string::npos);
    CHECK(codeOf([] { foretoken::cudaInfo(); }, message) == "CUDA_UNAVAILABLE");
  }
  return foretoken::test::finish("cuda_library");
}
