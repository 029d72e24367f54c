# Products chosen by the number of rows, a norm left out, pages shared between phases.
mutant(prompts product-by-rows cuda/backend/cuda_backend.cu [[if (pass.prompts && hasLargeProduct(w))]]
  [[if (pass.rows > 1 && hasLargeProduct(w))]])
mutant(prompts inputs-not-normalised cuda/backend/cuda_backend.cu
  [[note(QuantizeOp{{{passWords(), own(in).data(), weight, eps]] [[note(QuantizeOp{{{passWords(), own(in).data(), nullptr, eps]])
mutant(prompts phases-share-pages cuda/backend/cuda_backend.cu
  [[  promptsDiffer_ = promptsDiffer_ || hasLargeProduct(*made);
]] [[]])
