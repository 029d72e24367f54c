mutant(recall no-barrier-after-scores cuda/recall/nearest.cuh [[rankOf(a, query, i) : 0;
  __syncthreads();
]] [[rankOf(a, query, i) : 0;
]])
mutant(recall later-place-wins cuda/recall/nearest.cuh [[static_cast<uint32_t>(kMostPlaces - 1 - index);]]
  [[static_cast<uint32_t>(index);]])
mutant(recall no-barrier-before-direction cuda/recall/project.cuh [[lanes[part] = lengthLane(h, a.width, part);
  __syncthreads();
]] [[lanes[part] = lengthLane(h, a.width, part);
]])
mutant(recall voters-stay cuda/recall/vote.cuh [[    if (members >> lane & 1) ++at;
]] "")
