import type { DriftFinding } from '../controller/drift';
import { Drafter } from '../native';
import { whose } from './groups';
import type { Evidence } from './manifest';

/** What learning decided about a tenant's draft head, or noticed; it carries numbers and never text. */
export interface LearningEvent {
  /**
   * `candidate`: what was learned is being judged from now on. `promoted`: it drafts. `discarded`: it was worse, or not
   * found to be better in time.
   * `rolledBack`: the head before it drafts again. `alarm`: drafts of the head are hardly ever accepted any more. `notKept`: disk
   * and memory differ, and `why`: what was decided or forgotten holds, but could not be written or removed, or what was kept could not be
   * read, so that the tenant begins anew; or the weights were updated, and what is remembered is of none that a file names. `regated`: the target's weights have moved, or are held in another
   * format (`weights` names the one before), so that what was promoted has to be judged again, as a candidate; it carries its version.
   * `stopped`: computing failed while this head learned (`code`, stable, such as `CUDA_ERROR`; `why`, for people). No head of the engine
   * learns any more; all go on drafting as they are. `onCpu`: the device has no memory for the layers or the rows of this head
   * (`code` is `OUT_OF_MEMORY`), or its kernels can't take them (`SHAPE_MISMATCH`), `why` says what; they learn on the CPU, more slowly.
   * `lost`: there was no memory to work for this head (`code` is `OUT_OF_MEMORY`): what it was learning is lost, the head that drafts goes
   * on drafting, and it learns again from the texts that come.
   */
  kind:
    | 'candidate'
    | 'promoted'
    | 'discarded'
    | 'rolledBack'
    | 'alarm'
    | 'notKept'
    | 'regated'
    | 'stopped'
    | 'onCpu'
    | 'lost';
  /** Whose head it is: a tenant's; with `group`, that of the group of this name. */
  tenant: string;
  /** Set where `tenant` is a group's name. */
  group?: true;
  /** The version that drafts from now on; 0 = the static head. */
  version: number;
  /** What it was decided on. */
  evidence: Evidence;
}

/**
 * A drafter's drafts for a tenant are right much less often than they used to be (`drift`), or as often again, or have been so for long
 * that it is usual (`recovered`). Nothing has to be done: what policy believes of drafts follows within a hundred tokens.
 */
export interface DriftEvent {
  /** `drift`: right less often; `recovered`: no more. */
  kind: 'drift' | 'recovered';
  /** Whose text: a tenant's; with `group`, that of the group of this name. */
  tenant: string;
  /** Set where `tenant` is a group's name. */
  group?: true;
  /** Whose drafts. */
  drafter: 'suffix' | 'recall' | 'blend' | 'prediction' | 'head';
  /** How often first drafted tokens like those since then had been right before; 0..1. */
  expected: number;
  /** How often they were since; 0..1. */
  seen: number;
  /** Passes since it began, those of each answer that are looked at. */
  rounds: number;
}

/** What was found of a learner's drafts, as users are told. */
export function driftEvent(learner: string, finding: DriftFinding): DriftEvent {
  return { ...finding, ...whose(learner), drafter: Drafter[finding.drafter] as DriftEvent['drafter'] };
}
