import { Drafter, promiseBuckets } from '../native';
import type { Controller } from './controller';
import { middlingContext } from './cost';
import { draftLengths } from './ledger';

const shownWidths = [1, 2, 4, 8, 16, 32, 64];

/**
 * What the controller believes and did, in plain text: the price of passes, how often drafts are accepted, what was
 * chosen how often, and what it brought against decoding plainly at the same prices.
 */
export function explain(controller: Controller): string {
  return [...explainPrices(controller), ...explainAcceptance(controller), ...explainChoices(controller)].join('\n');
}

function explainPrices(controller: Controller): string[] {
  const { cost } = controller;
  const seconds = (rows: number): number => cost.roundSeconds(rows, rows * middlingContext);
  const widths = shownWidths.filter((rows) => rows <= cost.maxRows);
  const prices = widths.map((rows) => `${rows}: ${(seconds(rows) / seconds(1)).toFixed(2)}x`).join('  ');
  const lines = [
    `A pass of one row costs ${milliseconds(seconds(1))} with ${middlingContext} tokens of context; by rows ${prices}.`,
  ];
  const { slowdown } = cost;
  if (Math.abs(slowdown - 1) > 0.05) {
    const direction = slowdown > 1 ? 'slower' : 'faster';
    const factor = slowdown > 1 ? slowdown : 1 / slowdown;
    lines.push(`The machine runs ${factor.toFixed(2)}x ${direction} now than when it was profiled.`);
  }
  return lines;
}

function explainAcceptance(controller: Controller): string[] {
  const lines: string[] = [];
  for (const [drafter, sum] of controller.ledger.byDrafter) {
    if (sum.drafted === 0) continue;
    let tried = 0;
    let accepted = 0;
    for (const { acceptance } of controller.beliefs.values()) {
      const summary = acceptance.summary(drafter);
      tried += summary.tried;
      accepted += summary.accepted;
    }
    const share = tried > 0 ? `, lately ${percent(accepted / tried)} of those that were reached were accepted` : '';
    lines.push(`${Drafter[drafter]} drafted ${sum.drafted} tokens in ${sum.rounds} rounds${share}.`);
  }
  return [...lines, ...explainAsking(controller)];
}

/** Where asking the head pays, by what the other drafters promise: all tenants together. */
function explainAsking({ beliefs, cost }: Controller): string[] {
  const price = cost.draftSeconds[Drafter.head];
  const pass = cost.plainRoundSeconds;
  const lines: string[] = [];
  for (let bucket = 0; bucket < promiseBuckets; ++bucket) {
    let asked = 0;
    let saved = 0;
    for (const { asking } of beliefs.values()) {
      asked += asking.askedAt(bucket);
      saved += asking.askedAt(bucket) * asking.gainOf(bucket);
    }
    if (asked === 0) continue;
    const gain = (saved / asked) * pass;
    const from = (bucket / 4).toFixed(2);
    lines.push(
      `  others promise ${from}+: asked ${asked} times, saves ${milliseconds(gain)} a time` +
        (gain > price ? '' : ', not worth it'),
    );
  }
  if (price === 0) return []; // there is none
  return [`A draft of the head costs ${milliseconds(price)}, a pass of one row ${milliseconds(pass)}:`, ...lines];
}

function explainChoices(controller: Controller): string[] {
  const { total, byDrafter, byLength } = controller.ledger;
  if (total.rounds === 0) return ['Nothing was decoded yet.'];
  const plain = byDrafter.get(Drafter.none)?.rounds ?? 0;
  const lines = [
    `Of ${total.rounds} rounds ${plain} (${percent(plain / total.rounds)}) drafted nothing: no guess was worth its rows.`,
  ];
  byLength.forEach((sum, i) => {
    if (sum.rounds === 0) return;
    const gain = sum.plainSeconds / sum.seconds;
    lines.push(
      `  ${draftLengths[i].padStart(5)} drafted: ${String(sum.rounds).padStart(5)} rounds, ` +
        `${(sum.emitted / sum.rounds).toFixed(2)} tokens each (expected ${(sum.expected / sum.rounds).toFixed(2)}), ` +
        `${gain.toFixed(2)}x plain`,
    );
  });
  const { speedup, expectedSpeedup } = controller.ledger;
  lines.push(
    `All rounds: ${speedup.toFixed(2)}x the speed of plain decoding at the same prices, ` +
      `${expectedSpeedup.toFixed(2)}x had been expected.`,
  );
  return lines;
}

function milliseconds(seconds: number): string {
  return `${(seconds * 1000).toFixed(2)} ms`;
}

function percent(share: number): string {
  return `${(share * 100).toFixed(0)} %`;
}
