# Another pass's rows, another pass's graph.
mutant(backend pass-not-uploaded cuda/backend/cuda_backend.cu [[    upload_.reserve(bytes, stream_);
  }
  sent_ = false;]] [[    upload_.reserve(bytes, stream_);
    sent_ = false;
  }]])
mutant(backend graph-of-other-arguments cuda/backend/tape.cuh
  [[return table_ == other.table_ && table_->equal(arguments_, other.arguments_);]] [[return table_ == other.table_;]])
# Room that a head's logits don't fill.
mutant(backend logits-by-their-room cuda/backend/cuda_backend.cu
  [[sampler_.ask(own(logits).data(), vocabulary, vocabulary,]] [[sampler_.ask(own(logits).data(), logits.width(), vocabulary,]])
# Memory that is lacking.
mutant(backend pages-without-side-bytes cuda/backend/cuda_backend.cu
  [[return keyValueBytes(shape) + sideBytes(shape);]] [[return keyValueBytes(shape);]])
mutant(backend pages-without-exponents cuda/backend/cuda_backend.cu
  [[pool_ = DeviceMemory(keyValueBytes(shape));]]
  [[pool_ = DeviceMemory(keyValueBytes(shape) + 2 * kPageSize * shape.kvHeads * shape.layers * shape.pages);]])
mutant(backend old-memory-beside-new cuda/common/memory.cuh [[    *this = {};
]] "")
mutant(backend half-a-pass-kept cuda/backend/cuda_backend.cu [[  } catch (...) {
    tape_.clear();
]] [[  } catch (...) {
]])
