import { assumed, cards, type LinearFormat } from './roofline/cards';
import { models } from './roofline/models';
import { atlasBest, kernels, speeds } from './roofline/published';
import {
  kernelSeconds,
  kernelsOf,
  overheadSeconds,
  stepSeconds,
  tokensPerSecond,
  weightBytes,
  type Setup,
} from './roofline/step';
import { say, tableOf, type Report } from './common/report';

const formats: LinearFormat[] = ['fp8', 'nvfp4'];
const gpuCounts = [1, 2, 4, 8];
const rows = 8;
const context = 4096;

/**
 * What a decode step costs at least on H100 and B200, from bytes and multiply-adds: every kernel takes its bytes at the share of bandwidth that
 * this project aims at, or its arithmetic at a share of the peak, whichever is longer, and a gap to the next. Nothing is measured; what is
 * assumed is printed first, what others have published stands beside it.
 *
 * Summary: `<card>.g<gpus>.<model>.<format>.plainTokS`, `.rows8` a pass of 8 rows over one of 1, `.tokS` with speculation at the acceptance length
 * given, one sequence; `check.<name>` assumed over published; `ask.*` what 501 tokens/s of DeepSeek-V3.1 on four B200 take.
 *
 * @param acceptance Tokens a round.
 */
export function roofline(acceptance: number): Report {
  const report: Report = { suite: 'roofline', summary: {}, rows: [] };
  sayAssumptions(acceptance);
  addSteps(report, acceptance);
  addChecks(report);
  addAsk(report, acceptance);
  return report;
}

function sayAssumptions(acceptance: number): void {
  const { share, readCeiling, peakShare, gap, reduce, draft } = assumed;
  say(`Assumed: kernels read at ${formats.map((f) => `${share[f]} (${f})`).join(', ')} of ${readCeiling} of the data sheet's bandwidth and
multiply at ${peakShare} of its peak; ${gap * 1e6} us from kernel to kernel, ${reduce * 1e6} us for a sum over GPUs; weights cut evenly among GPUs; every token
chooses its experts independently; ${context} tokens of context; drafts take ${draft} of a round; ${rows} rows a round keep ${acceptance} tokens.\n`);
}

function addSteps(report: Report, acceptance: number): void {
  const shown: Report['rows'] = [];
  for (const [card, each] of Object.entries(cards))
    for (const [name, model] of Object.entries(models))
      for (const format of formats)
        for (const gpus of gpuCounts) {
          const bytes = weightBytes(model, format);
          if (bytes > 0.9 * gpus * each.memory) continue;
          const plain: Setup = { card: each, gpus, format, batch: 1, rows: 1, context };
          const verify = { ...plain, rows };
          const seconds = stepSeconds(model, plain);
          const row = {
            ...{ card, gpus, model: name, format, weightsGB: bytes / 1e9, plainMs: 1000 * seconds },
            plainTokS: 1 / seconds,
            rows8: stepSeconds(model, verify) / seconds,
            tokS: tokensPerSecond(model, verify, acceptance),
          };
          for (const key of ['plainTokS', 'rows8', 'tokS'] as const)
            report.summary[`${card}.g${gpus}.${name}.${format}.${key}`] = row[key];
          shown.push(row);
        }
  report.rows.push(...shown);
  tableOf(
    {
      ...{ card: 'card', gpus: 'GPUs', model: 'model', format: 'format', weightsGB: 'weights GB', plainMs: 'step ms' },
      ...{ plainTokS: 'tokens/s', rows8: `${rows} rows`, tokS: 'with drafts' },
    },
    shown,
  );
}

/** What is assumed beside what others have published: above 1 it is better than theirs. */
function addChecks(report: Report): void {
  const shown: Report['rows'] = [];
  for (const { name, model, setup, tokensPerSecond: published, source } of speeds) {
    const shape = models[model];
    const withoutGaps = stepSeconds(shape, setup, 0);
    const count = (stepSeconds(shape, setup) - withoutGaps) / assumed.gap;
    const here = 1 / stepSeconds(shape, setup);
    const gap = (1e6 * (1 / published - withoutGaps)) / count;
    shown.push({
      name,
      published,
      here,
      ratio: here / published,
      source: `${source} (a gap of ${gap.toFixed(1)} us would give it)`,
    });
  }
  for (const { name, card, format, bytesPerSecond, source } of kernels) {
    const here = (cards[card].bandwidth * assumed.readCeiling * assumed.share[format]) / 1e12;
    const published = bytesPerSecond / 1e12;
    shown.push({ name, published, here, ratio: here / published, source });
  }
  for (const { name, ratio } of shown) report.summary[`check.${String(name)}`] = ratio as number;
  report.rows.push(...shown);
  say('\nPublished, tokens/s or TB/s, beside what is assumed here:');
  tableOf({ name: '', published: 'published', here: 'here', ratio: 'ratio', source: 'source' }, shown);
}

/** What each kernel may take if ATLAS's best is to be reached. */
function addAsk(report: Report, acceptance: number): void {
  const model = models['deepseek-v3.1'];
  const setup: Setup = { card: cards.b200, gpus: 4, format: 'nvfp4', batch: 1, rows, context };
  const pass = (acceptance * (1 - assumed.draft)) / atlasBest;
  const overhead = overheadSeconds(model, setup);
  const all = kernelsOf(model, setup);
  const work = all.reduce((sum, each) => sum + kernelSeconds(each, setup.card, 1), 0);
  const share = work / (pass - overhead);
  const shown = all.map((each) => {
    const seconds = kernelSeconds(each, setup.card, 1) / share;
    return {
      ...{ kernel: each.name, count: each.count, megabytes: each.bytes / each.count / 1e6 },
      microseconds: (1e6 * seconds) / each.count,
      terabytes: each.bytes / seconds / 1e12,
    };
  });
  Object.assign(report.summary, {
    'ask.passMs': 1000 * pass,
    'ask.overheadMs': 1000 * overhead,
    'ask.share': share,
    'ask.acceptanceAtGoals': (atlasBest * stepSeconds(model, setup)) / (1 - assumed.draft),
  });
  report.rows.push(...shown);
  say(`\n${atlasBest} tokens/s of DeepSeek-V3.1 on four B200 in nvfp4 with ${acceptance} tokens a round of ${rows} rows: a pass may take ${(1000 * pass).toFixed(2)} ms,
of which ${(1000 * overhead).toFixed(2)} ms are gaps and sums; kernels have to reach ${share.toFixed(2)} of the read ceiling. At the goals assumed above,
${report.summary['ask.acceptanceAtGoals'].toFixed(2)} tokens a round are enough. Of each kernel that asks:`);
  tableOf(
    { kernel: 'kernel', count: 'in a pass', megabytes: 'MB each', microseconds: 'us each', terabytes: 'TB/s' },
    shown,
  );
}
