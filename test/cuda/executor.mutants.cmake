# That the mechanism itself works: an executor that forgets what it promises must be noticed.
mutant(executor unpoisoned-shared cuda/simt/launch.h [[    prepareSharedMemory(sharedBytes);
]] "")
mutant(executor shared-memory-taken-back cuda/common/device.cuh [[  if (bytes <= most) return cudaSuccess;
]] "")
mutant(executor barrier-one-too-few cuda/simt/block.h [[barrier.needed ? barrier.needed : alive_);]]
  [[barrier.needed ? barrier.needed : alive_ - 1);]])
