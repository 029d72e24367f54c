// Phases on the CPU, with a backend that makes a difference between them.
#include "phases_rig.h"
#include "two_phase_backend.h"

int main() {
  using namespace foretoken;
  using test::TwoPhaseBackend;
  const auto cpu = [] { return createCpuBackend({2, ""}); };
  test::PhasesRig rig({[&] { return std::make_unique<TwoPhaseBackend>(cpu()); }, "auto", 9, 40, 60, 192});
  rig.testDifference(cpu(), "auto");
  rig.testCrowded(1, 1, true);
  rig.testCrowded(24, 7, true);
  rig.testCrowded(24, 7, false);
  rig.testCrowded(64, 64, true);
  for (const DrafterId drafter : {DrafterId::recall, DrafterId::head}) rig.testHits(drafter);
  rig.testRestart(9);
  rig.testAnswerIsAnothersPrompt();
  return test::finish("engine_phases");
}
