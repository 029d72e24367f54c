# libforetoken_cuda.so: static CUDA runtime, so that only the driver is needed where it runs. The architectures are
# spelled as nvcc options because CMake's own list knows no families before 3.31.
set(FORETOKEN_ARCHITECTURES "90a;100f" CACHE STRING
  "What libforetoken_cuda.so has code for, as in sm_…: Hopper (90a) and the Blackwell family (100f, from CUDA 12.9 on)")
# A compiler that is of no use is looked for again by the next configuration: it may have come, moved or been renewed.
function(forget_nvcc)
  unset(CMAKE_CUDA_COMPILER CACHE)
  file(REMOVE ${CMAKE_BINARY_DIR}/CMakeFiles/${CMAKE_VERSION}/CMakeCUDACompiler.cmake)
endfunction()

if(NOT CMAKE_CUDA_COMPILER OR (IS_ABSOLUTE "${CMAKE_CUDA_COMPILER}" AND NOT EXISTS "${CMAKE_CUDA_COMPILER}"))
  forget_nvcc()
endif()
include(CheckLanguage)
check_language(CUDA)
if(NOT CMAKE_CUDA_COMPILER)
  if(FORETOKEN_CUDA STREQUAL "ON")
    message(FATAL_ERROR "FORETOKEN_CUDA=ON, but no nvcc was found: install the CUDA toolkit or set CUDACXX")
  endif()
  message(STATUS "No nvcc: building for the CPU alone")
  return()
endif()

set(CMAKE_CUDA_ARCHITECTURES OFF)
enable_language(CUDA)
# Families of architectures (100f) are known from 12.9 on, all else that is needed from 12.8 on.
set(needed 12.8)
if(FORETOKEN_ARCHITECTURES MATCHES "f")
  set(needed 12.9)
endif()
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS ${needed})
  forget_nvcc()
  if(FORETOKEN_CUDA STREQUAL "ON")
    message(FATAL_ERROR "nvcc ${CMAKE_CUDA_COMPILER_VERSION} is too old: CUDA ${needed} or newer is needed for "
      "FORETOKEN_ARCHITECTURES=${FORETOKEN_ARCHITECTURES}")
  endif()
  message(STATUS "nvcc ${CMAKE_CUDA_COMPILER_VERSION} is older than ${needed}: building for the CPU alone")
  return()
endif()

# CMake before 3.26 doesn't know that nvcc compiles C++20.
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()

file(GLOB_RECURSE cuda_sources CONFIGURE_DEPENDS cuda/*.cu)
add_library(foretoken_cuda SHARED ${cuda_sources})
set_target_properties(foretoken_cuda PROPERTIES CUDA_STANDARD 20 CUDA_RUNTIME_LIBRARY Static
  CXX_VISIBILITY_PRESET hidden CUDA_VISIBILITY_PRESET hidden)
target_include_directories(foretoken_cuda PRIVATE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/native)
# The backend packs weights as the CPU does.
target_link_libraries(foretoken_cuda PRIVATE foretoken_core)
# Bits are a promise here too: a kernel's instances for one row and for many must not differ in what the compiler fuses.
# Kernels spell out fmaf. Constexpr functions of native/ (codecs, philox, layouts) are device functions as they are.
target_compile_options(foretoken_cuda PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:--compiler-options=-Wall,-Wextra>"
  "$<$<COMPILE_LANGUAGE:CUDA>:--fmad=false;--expt-relaxed-constexpr>")
foreach(architecture ${FORETOKEN_ARCHITECTURES})
  target_compile_options(foretoken_cuda PRIVATE
    "$<$<COMPILE_LANGUAGE:CUDA>:SHELL:-gencode arch=compute_${architecture},code=sm_${architecture}>")
endforeach()
target_link_options(foretoken_cuda PRIVATE -Wl,--exclude-libs,ALL)
