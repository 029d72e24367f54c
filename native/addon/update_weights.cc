#include "addon/update_weights.h"

#include <algorithm>
#include <exception>

#include "addon/arguments.h"
#include "addon/errors.h"
#include "format/tensor_buffers.h"
#include "head/head_weights.h"
#include "model/source.h"

namespace foretoken::addon {
namespace {

std::unique_ptr<TensorFile> copyOf(Napi::Array list) {
  auto tensors = std::make_unique<TensorBuffers>();
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Fields tensor(list.Get(i), "tensors[" + std::to_string(i) + "]");
    tensors->add(tensor.string("name"), tensor.string("dtype"), tensor.integers("shape"), tensor.view("data"));
  }
  return tensors;
}

class UpdateWorker final : public Napi::AsyncWorker {
 public:
  UpdateWorker(Napi::Env env, std::shared_ptr<EngineHandle> handle, std::string path,
               std::unique_ptr<TensorFile> tensors, bool restart)
      : Napi::AsyncWorker(env, "foretoken update"),
        deferred_(Napi::Promise::Deferred::New(env)),
        handle_(std::move(handle)),
        base_(handle_->model()),
        head_(handle_->head()),
        packing_(handle_->choice().beside()),
        path_(std::move(path)),
        tensors_(std::move(tensors)),
        restart_(restart) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

  void Execute() override {
    try {
      if (!tensors_) tensors_ = openTensors(path_);
      const auto packing = packing_.create();
      next_ = base_->updated(*tensors_, *packing);
      if (head_) head_ = head_->updated(*next_, *packing);
      for (const TensorInfo& tensor : tensors_->tensors()) ++update_.tensors, update_.bytes += tensor.bytes;
    } catch (...) {
      failure_ = std::current_exception();
    }
    base_.reset();
    tensors_.reset();
  }

  void OnOK() override {
    try {
      if (failure_) std::rethrow_exception(failure_);
      deferred_.Resolve(handle_->swapWeights(Env(), std::move(next_), std::move(head_), restart_, update_));
    } catch (const std::exception& error) {
      deferred_.Reject(toJsError(Env(), error).Value());
    }
  }

 private:
  Napi::Promise::Deferred deferred_;
  std::shared_ptr<EngineHandle> handle_;
  std::shared_ptr<Model> base_, next_;
  std::shared_ptr<const HeadWeights> head_;
  const BackendChoice packing_;
  const std::string path_;
  std::unique_ptr<TensorFile> tensors_;
  const bool restart_;
  WeightUpdate update_;
  std::exception_ptr failure_;
};

}  // namespace

Napi::Promise updateWeights(Napi::Env env, std::shared_ptr<EngineHandle> handle, Napi::Value source, bool restart) {
  std::unique_ptr<TensorFile> tensors;
  std::string path;
  if (source.IsString()) {
    path = source.As<Napi::String>();
  } else if (source.IsArray()) {
    tensors = copyOf(source.As<Napi::Array>());
  } else {
    throw invalidArgument(env, "source must be a path or an array of tensors");
  }
  auto* worker = new UpdateWorker(env, std::move(handle), std::move(path), std::move(tensors), restart);
  const Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

}  // namespace foretoken::addon
