// The addon's entry: each part of it adds its functions and classes to `exports`.
#include <napi.h>

#include "addon/bench.h"
#include "addon/cuda.h"
#include "addon/engine.h"
#include "addon/metadata.h"
#include "addon/replay.h"
#include "addon/tensors.h"
#include "addon/train.h"

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  foretoken::addon::initEngine(env, exports);
  foretoken::addon::initMetadata(env, exports);
  foretoken::addon::initBench(env, exports);
  foretoken::addon::initCuda(env, exports);
  foretoken::addon::initTensors(env, exports);
  foretoken::addon::initTrain(env, exports);
  foretoken::addon::initReplay(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(foretoken, init)
