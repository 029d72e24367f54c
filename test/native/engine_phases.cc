// Phases on the CPU, with a backend that makes a difference between them.
#include "phases_rig.h"
#include "two_phase_backend.h"

namespace foretoken {
namespace {

std::unique_ptr<Backend> onePhase() { return createCpuBackend({2, ""}); }
std::unique_ptr<Backend> twoPhases() { return std::make_unique<test::TwoPhaseBackend>(onePhase()); }

/// Given texts are scored as if they had been generated.
void scoresWhatIsGenerated() {
  std::vector<Score> scores;
  for (const auto& backend : {onePhase, twoPhases}) {
    test::EngineRig engine(
        "auto", test::engineOptions(1), [](auto&&...) {}, backend());
    scores.push_back(engine.core->score({1, 2, 3, 5, 8, 13, 21}));
  }
  CHECK(scores[0].logprob == scores[1].logprob && scores[0].argmax == scores[1].argmax);
}

}  // namespace
}  // namespace foretoken

int main() {
  using namespace foretoken;
  scoresWhatIsGenerated();
  test::PhasesRig rig({twoPhases, "auto", 9, 40, 60, 192});
  rig.testDifference(onePhase(), "auto");
  rig.testCrowded(1, 1, true);
  rig.testCrowded(24, 7, true);
  rig.testCrowded(24, 7, false);
  rig.testCrowded(64, 64, true);
  for (const DrafterId drafter : {DrafterId::recall, DrafterId::head}) rig.testHits(drafter);
  rig.testRestart(9);
  rig.testAnswerIsAnothersPrompt();
  return test::finish("engine_phases");
}
