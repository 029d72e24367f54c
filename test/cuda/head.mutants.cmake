mutant(head wrong-slot-before cuda/head/tree.cuh [[a.candidate[row - kCandidates + parent];]] [[a.candidate[row + parent];]])
mutant(head child-of-lane cuda/head/tree.cuh [[(row + parent) * kChildren + n] = {best]] [[(row + lane) * kChildren + n] = {best]])
