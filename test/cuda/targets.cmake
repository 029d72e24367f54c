# Kernels on the CPU: one program simt_NAME per file test/cuda/NAME.cc, run by the executor of cuda/simt, no nvcc needed.
#
# FORETOKEN_MUTANTS adds simt_NAME.sanitized, under ASan and UBSan, and programs with injected bugs. A file
# test/cuda/NAME.mutants.cmake lists these: each call
#   mutant(NAME BUG FILE [[text]] [[instead]])
# builds simt_NAME.BUG, which is simt_NAME over a copy of FILE in which `text`, which must occur exactly once, is
# replaced. It must fail: a bug that its test does not notice is a failure of the test. Kernels know nothing of this.
option(FORETOKEN_MUTANTS "Build the programs of test/cuda under sanitizers and over injected bugs, too" OFF)

# What runs on the executor. Further arguments: folders to look for headers in first.
function(on_executor target)
  target_include_directories(${target} PRIVATE ${ARGN} ${CMAKE_SOURCE_DIR})
  target_link_libraries(${target} PRIVATE foretoken_core)
  target_compile_definitions(${target} PRIVATE FORETOKEN_SIMT)
  # Unrolled kernels take compilers long, and more so under sanitizers. GCC 12 misreads the joining of strings (its bug
  # 105651).
  target_compile_options(${target} PRIVATE -O1 -Wno-unknown-pragmas -Wno-restrict)
  target_link_options(${target} PRIVATE -Wl,-T,${CMAKE_SOURCE_DIR}/cuda/simt/shared.ld)
  set_target_properties(${target} PROPERTIES LINK_DEPENDS ${CMAKE_SOURCE_DIR}/cuda/simt/shared.ld)
endfunction()

function(simt_program target source)
  add_executable(${target} ${source})
  on_executor(${target} ${ARGN})
  set_target_properties(${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endfunction()

function(mutant name bug file text instead)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${file})
  file(READ ${CMAKE_SOURCE_DIR}/${file} original)
  string(FIND "${original}" "${text}" first)
  string(FIND "${original}" "${text}" last REVERSE)
  if(first EQUAL -1 OR NOT first EQUAL last)
    message(FATAL_ERROR "mutant ${bug} of ${name}: its text must occur exactly once in ${file}:\n${text}")
  endif()
  string(REPLACE "${text}" "${instead}" mutated "${original}")
  set(target simt_${name}.${bug})
  set(folder ${CMAKE_BINARY_DIR}/mutants/${target})
  file(GENERATE OUTPUT ${folder}/${file} CONTENT "${mutated}")
  simt_program(${target} ${CMAKE_SOURCE_DIR}/test/cuda/${name}.cc ${folder})
  # A program that aborts or never ends has failed, too; one that could not be started (125 to 127) has shown nothing.
  add_test(NAME ${target} COMMAND sh -c [[timeout 300 "$0"; case $? in 0 | 12[567]) exit 1 ;; esac]]
    $<TARGET_FILE:${target}> WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${target} PROPERTIES ENVIRONMENT FORETOKEN_LONG=0)
endfunction()

file(GLOB simt_sources CONFIGURE_DEPENDS test/cuda/*.cc)
foreach(source ${simt_sources})
  get_filename_component(name ${source} NAME_WE)
  simt_program(simt_${name} ${source})
  add_test(NAME simt_${name} COMMAND simt_${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  if(FORETOKEN_MUTANTS)
    simt_program(simt_${name}.sanitized ${source})
    target_compile_options(simt_${name}.sanitized PRIVATE -g -fno-omit-frame-pointer -fno-sanitize-recover=all
      -fsanitize=address,undefined)
    target_link_options(simt_${name}.sanitized PRIVATE -fsanitize=address,undefined)
    add_test(NAME simt_${name}.sanitized COMMAND simt_${name}.sanitized WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(simt_${name}.sanitized PROPERTIES ENVIRONMENT FORETOKEN_LONG=0)
  endif()
endforeach()

# libforetoken_cuda.so on the executor, for the addon in Jest (test/cuda/library.test.ts): in a folder of its own, for
# programs in build/tests are to find none beside them.
if(CMAKE_JS_INC)
  add_library(simt_library SHARED test/cuda/library/library.cc test/cuda/library/faults.cc)
  on_executor(simt_library)
  target_include_directories(simt_library PRIVATE ${CMAKE_JS_INC} ${node_addon_api})
  target_compile_definitions(simt_library PRIVATE NAPI_VERSION=8 NAPI_CPP_EXCEPTIONS)
  target_link_options(simt_library PRIVATE -Wl,--exclude-libs,ALL)
  set_target_properties(simt_library PROPERTIES OUTPUT_NAME foretoken_cuda CXX_VISIBILITY_PRESET hidden
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/library)
endif()

if(FORETOKEN_MUTANTS)
  file(GLOB mutant_lists CONFIGURE_DEPENDS test/cuda/*.mutants.cmake)
  foreach(list ${mutant_lists})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${list})
    include(${list})
  endforeach()
endif()
