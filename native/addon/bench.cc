#include "addon/bench.h"

#include "addon/arguments.h"
#include "addon/errors.h"
#include "addon/promise_worker.h"
#include "backend.h"
#include "common/error.h"
#include "cpu/bench_kernels.h"
#include "cpu/probe.h"
#include "cpu/topology.h"

namespace foretoken::addon {
namespace {

struct Rates {
  double readGBs, int8GMACs, bf16GMACs, meetingNs;
  int threads;
  Isa isa;
};

struct KernelTimes {
  std::vector<double> seconds, readGBs;
  double bytes, macs;
};

int threadsOr(int threads) { return threads > 0 ? threads : defaultThreads(); }

Rates probeRates(int threads, const std::string& isa) {
  const Isa path = selectIsa(isa);
  ThreadPool pool(threadsOr(threads));
  Probe probe(pool, path);
  return {probe.readGBs(), probe.int8GMACs(), probe.bf16GMACs(), probe.meetingNs(), pool.size(), path};
}

Napi::Value ratesToJs(Napi::Env env, const Rates& rates) {
  auto result = Napi::Object::New(env);
  result.Set("readGBs", rates.readGBs);
  result.Set("int8GMACs", rates.int8GMACs);
  result.Set("bf16GMACs", rates.bf16GMACs);
  result.Set("meetingNs", rates.meetingNs);
  result.Set("threads", rates.threads);
  result.Set("isa", name(rates.isa));
  return result;
}

Napi::Value probe(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&]() -> Napi::Value {
    const auto threads = static_cast<int>(integerArgument(call, 0, "threads", 0, 1024));
    std::string isa = stringArgument(call, 1, "isa");
    return PromiseWorker<Rates>::run(
        call.Env(), "foretoken probe", [threads, isa = std::move(isa)] { return probeRates(threads, isa); }, ratesToJs);
  });
}

struct Kernel {
  std::string format, isa;
  int64_t rows, cols;
  int count, repeats, threads;
};

KernelTimes timeKernel(const Kernel& kernel) {
  Format format;
  if (!parseFormat(kernel.format, format))
    throw Error("UNKNOWN_WEIGHTS_FORMAT", "there is no weight format '" + kernel.format + "'");
  ThreadPool pool(threadsOr(kernel.threads));
  const Isa isa = selectIsa(kernel.isa);
  KernelBench bench(pool, isa, format, kernel.rows, kernel.cols, kernel.count);
  Probe probe(pool, isa);
  KernelTimes result{{}, {}, bench.bytes(), bench.macs()};
  for (int i = 0; i < kernel.repeats; ++i) {
    result.readGBs.push_back(probe.readGBs());
    result.seconds.push_back(bench.seconds());
  }
  return result;
}

Napi::Value timesToJs(Napi::Env env, const KernelTimes& times) {
  auto result = Napi::Object::New(env);
  result.Set("seconds", toJs(env, times.seconds));
  result.Set("readGBs", toJs(env, times.readGBs));
  result.Set("bytes", times.bytes);
  result.Set("macs", times.macs);
  return result;
}

Napi::Value benchKernel(const Napi::CallbackInfo& call) {
  return guarded(call.Env(), [&]() -> Napi::Value {
    const Fields fields(call[0], "kernel");
    Kernel kernel{fields.string("format"),
                  fields.string("isa"),
                  fields.integer("rows", 1, 1 << 24),
                  fields.integer("cols", 1, 1 << 24),
                  static_cast<int>(fields.integer("count", 1, 4096)),
                  static_cast<int>(fields.integer("repeats", 1, 100000)),
                  static_cast<int>(fields.integer("threads", 0, 1024))};
    return PromiseWorker<KernelTimes>::run(
        call.Env(), "foretoken kernel", [kernel = std::move(kernel)] { return timeKernel(kernel); }, timesToJs);
  });
}

Napi::Value availableIsas(const Napi::CallbackInfo& call) {
  const auto isas = foretoken::availableIsas();
  auto result = Napi::Array::New(call.Env(), isas.size());
  for (uint32_t i = 0; i < isas.size(); ++i) result.Set(i, isas[i]);
  return result;
}

}  // namespace

void initBench(Napi::Env env, Napi::Object exports) {
  exports.Set("availableIsas", Napi::Function::New(env, availableIsas, "availableIsas"));
  exports.Set("probe", Napi::Function::New(env, probe, "probe"));
  exports.Set("benchKernel", Napi::Function::New(env, benchKernel, "benchKernel"));
}

}  // namespace foretoken::addon
