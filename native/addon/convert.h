// Between the shapes of lib/native.ts and those of the engine.
#pragma once
#include <napi.h>

#include "addon/arguments.h"
#include "addon/backend_choice.h"
#include "engine/engine.h"

namespace foretoken::addon {

struct LoadOptions {
  std::string weights, cacheFolder;
  BackendChoice backend;
  std::string head, tokenizer;     ///< as in NativeLoadOptions
  std::vector<std::string> heads;  ///< folders of heads
  bool learn;                      ///< heads learn
  EngineOptions engine;
};

LoadOptions loadOptions(const Fields& fields);
Request request(const Fields& fields);
/// Checks the table's shape and that its numbers are finite: a policy can slow the engine down, never break it.
Policy policy(const Fields& fields);
Napi::Object toJs(Napi::Env env, const Outcomes& batch);

}  // namespace foretoken::addon
