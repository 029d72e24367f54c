#include "addon/update_weights.h"

#include <algorithm>

#include "addon/arguments.h"
#include "addon/promise_worker.h"
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

class UpdateWork final : public PromiseWork {
 public:
  UpdateWork(Napi::Env env, std::shared_ptr<EngineHandle> handle, std::string path, std::unique_ptr<TensorFile> tensors,
             bool restart)
      : PromiseWork(env, "foretoken update"),
        handle_(std::move(handle)),
        base_(handle_->model()),
        head_(handle_->head()),
        packing_(handle_->choice().beside()),
        path_(std::move(path)),
        tensors_(std::move(tensors)),
        restart_(restart) {}

 private:
  /// What is read and what it starts from are let go of here, where nobody waits.
  void work() override {
    const auto base = std::move(base_);
    const auto tensors = tensors_ ? std::move(tensors_) : openTensors(path_);
    const auto packing = packing_.create();
    next_ = base->updated(*tensors, *packing);
    if (head_) head_ = head_->updated(*next_, *packing);
    for (const TensorInfo& tensor : tensors->tensors()) ++update_.tensors, update_.bytes += tensor.bytes;
  }

  Napi::Value answer() override {
    return handle_->swapWeights(Env(), std::move(next_), std::move(head_), restart_, update_);
  }

  std::shared_ptr<EngineHandle> handle_;
  std::shared_ptr<Model> base_, next_;
  std::shared_ptr<const HeadWeights> head_;
  const BackendChoice packing_;
  const std::string path_;
  std::unique_ptr<TensorFile> tensors_;
  const bool restart_;
  WeightUpdate update_;
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
  return queued(new UpdateWork(env, std::move(handle), std::move(path), std::move(tensors), restart));
}

}  // namespace foretoken::addon
