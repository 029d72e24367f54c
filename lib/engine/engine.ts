import { randomUUID } from 'node:crypto';
import { performance } from 'node:perf_hooks';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { loadBinding } from '../binding';
import { Controller } from '../controller/controller';
import type { TenantPolicy } from '../controller/controller';
import type { Profile } from '../controller/cost';
import { explain } from '../controller/explain';
import { atCallSite, callSite } from '../decode/call-site';
import type { CallSite } from '../decode/call-site';
import { DecodeLoop } from '../decode/loop';
import type { Generation } from '../decode/generation';
import type { GenerateResult } from '../decode/result';
import { GenerateStream } from '../decode/stream';
import { ForetokenError, callNative, isLackOfMemory } from '../error';
import { Chat } from '../models/chat';
import type { ChatRenderOptions } from '../models/guarded-template';
import type { MessageLike } from '../models/messages';
import { TextStream } from '../models/text-stream';
import type { EncodeOptions, Tokenizer } from '../models/tokenizer';
import { Learn } from '../native';
import type { NativeEngine, NativeModelInfo, NativeOutcomes, NativeRequest, NativeWeightUpdate } from '../native';
import { headOptions } from '../speculators/head';
import { Learning } from '../speculators/learning';
import { loadMemory, writeMemory } from '../speculators/memory';
import { driftEvent } from '../speculators/events';
import { SpeculatorStore } from '../speculators/store';
import { Groups, learnerOf } from '../speculators/groups';
import { Learners } from '../speculators/learners';
import { checkLoadOptions } from './load-options';
import type { CheckedLoadOptions, LoadOptions } from './load-options';
import { openModel } from './model-source';
import type { ModelSource } from './model-source';
import { checkLearned } from './names';
import type { Learned } from './names';
import { loadProfile } from './prices';
import { checkChatOptions, checkTokens, checkRequestOptions, readTemplateOptions } from './request-options';
import type { ChatOptions, CheckedRequestOptions, Prompt, RequestOptions, TemplateOptions } from './request-options';
import { kindOf } from './row-kind';
import { Session, checkSessionOptions } from './session';
import type { SessionOptions } from './session';
import { TenantLedger } from './stats';
import type { EngineStats } from './stats';
import { checkUpdate } from './update-weights';
import type { UpdateWeightsOptions, WeightSource, WeightUpdate } from './update-weights';
import { OptionReader, invalidOption } from './validate';

/**
 * Prices and time that do not depend on the machine, so that plans depend on requests alone: rounds take what the profile says, and
 * beliefs reach the engine when `now` says that it is time, at the beginning of a request.
 *
 * @internal
 */
export interface LogicalClock {
  profile: Profile;
  /** Milliseconds. */
  now: () => number;
}

/** Tenants and groups that an engine holds learned state of, and those among them with a head of their own. */
const mostLearners = { learners: 4096, heads: 64 };
const noLearners: ReadonlySet<string> = new Set();

/** A request that has begun, and that the native engine does not have yet. */
interface Beginning {
  readonly options: CheckedRequestOptions;
  /** Whose learned state it has to do with. */
  readonly learner: string;
  /** Whether what it would teach has been forgotten meanwhile. */
  forgotten: boolean;
}

/** What a model is, as the engine holds it. */
export interface ModelInfo extends NativeModelInfo {
  /** The model's own name, for people. */
  name: string | undefined;
  /** Where its file or folder is. */
  path: string;
  /** Whether it has a template for conversations. */
  chat: boolean;
}

/**
 * A language model, loaded and ready to answer many requests at once.
 *
 * @example
 * import { Engine } from 'foretoken';
 * const engine = await Engine.load();
 * const { text } = await engine.chat([{ role: 'user', content: 'What is a haiku?' }]);
 * await engine.close();
 */
export class Engine {
  /** Undefined where speculation is disabled. */
  readonly #controller: Controller | undefined;
  readonly #native: NativeEngine;
  readonly #loop: DecodeLoop;
  readonly #source: ModelSource;
  /** Tokens of prompt and answer together. */
  readonly #contextLength: number;
  /** Ids are below this, those too that round it up and have no text. */
  readonly #vocabulary: number;
  readonly #tenants = new TenantLedger();
  readonly #groups = new Groups();
  readonly #learners: Learners;
  /** Undefined where no head learns and nothing that was learned is kept. */
  readonly #learning: Learning | undefined;
  /** What engines that keep what they learn have on disk of this model. */
  readonly #store: SpeculatorStore;
  /** Requests that are being prepared for the loop. */
  readonly #beginning = new Map<Beginning, Promise<Generation>>();
  #chat: Chat | undefined;
  #closing: Promise<void> | undefined;
  #updating: Promise<NativeWeightUpdate> | undefined;
  #settling: Promise<unknown> = Promise.resolve();

  private constructor(
    native: NativeEngine,
    source: ModelSource,
    loop: DecodeLoop,
    controller: Controller | undefined,
    { keepLearned, onEvent, native: { learn, weights } }: CheckedLoadOptions,
  ) {
    this.#native = native;
    this.#source = source;
    this.#loop = loop;
    this.#controller = controller;
    this.#learners = new Learners({
      most: mostLearners,
      withHeads: () => this.#learning?.withHeads ?? noLearners,
      keep: async (learner) => this.#learning?.keep(learner),
      drop: (learner) => this.#drop(learner),
    });
    const { contextLength, vocabulary, sourceHash } = native.info();
    this.#contextLength = contextLength;
    this.#vocabulary = vocabulary;
    this.#store = new SpeculatorStore(source.cacheFolder, sourceHash);
    const heads = learn && native.stats().headBytes > 0;
    if (!controller || !(heads || keepLearned)) return;
    this.#learning = new Learning(native, {
      heads,
      weights,
      store: keepLearned ? this.#store : undefined,
      holds: (learner) => this.#learners.has(learner),
      onEvent,
      onHead: (learner) => controller.headChanged(learner),
    });
  }

  /**
   * Loads a model.
   *
   * @param ref `'default'`, the path of a GGUF file or of a safetensors folder, or a Hugging Face repository.
   * @param options See {@link LoadOptions}.
   * @throws ForetokenError INVALID_OPTION, MODEL_NOT_FOUND, MODEL_UNAVAILABLE, UNSUPPORTED_ARCHITECTURE, OUT_OF_MEMORY, ABORTED, and all
   *   others that `docs/errors.md` lists under loading and files.
   */
  static load(ref?: string, options?: LoadOptions): Promise<Engine>;
  /** @internal */
  static load(ref?: string, options?: LoadOptions, clock?: LogicalClock): Promise<Engine>;
  static async load(ref = 'default', options?: LoadOptions, clock?: LogicalClock): Promise<Engine> {
    if (typeof ref !== 'string' || ref === '')
      throw invalidOption('ref', "'default', a path or a Hugging Face repository", ref);
    const checked = checkLoadOptions(options);
    checked.throwIfEnded();
    const binding = loadBinding();
    const source = await openModel(ref, checked, binding);
    const head = await headOptions(checked.head, source.cacheFolder, source.metadata);
    checked.throwIfEnded();
    let engine: Engine | undefined;
    const loop = new DecodeLoop(() => engine!.#native);
    const native = await callNative(() =>
      binding.loadEngine(
        source.path,
        { ...checked.native, ...head, cacheFolder: source.cacheFolder },
        (outcomes) => {
          if (engine) engine.#onOutcomes(outcomes);
        },
        (stage, done, total) => checked.onProgress({ stage, done, total }),
      ),
    );
    try {
      await nextTurn(); // the last progress may come right behind
      checked.throwIfEnded();
      checked.logger(`weights: ${native.info().weightsDescription}`);
      if (checked.native.speculation && checked.native.learn && native.stats().headBytes === 0)
        checked.logger('there is no draft head for this model: none learns');
      if (checked.native.speculation) await loadMemory(native, checked.memory, source.cacheFolder);
      checked.throwIfEnded();
      const controller = checked.native.speculation
        ? await startController(native, source.cacheFolder, clock, checked.onEvent)
        : undefined;
      checked.throwIfEnded();
      engine = new Engine(native, source, loop, controller, checked);
      return engine;
    } catch (error) {
      await native.close();
      checked.throwIfEnded();
      throw ForetokenError.from(error);
    }
  }

  /**
   * What was loaded.
   *
   * @throws ForetokenError ENGINE_CLOSED
   */
  get model(): ModelInfo {
    const { metadata, path } = this.#source;
    return {
      ...callNative(() => this.#native.info()),
      name: metadata.name,
      path,
      chat: metadata.chatTemplate !== undefined,
    };
  }

  /**
   * Continues a prompt.
   *
   * @param prompt Text, in which special tokens are plain text, or tokens as {@link tokenize} gives them.
   * @param options See {@link RequestOptions}.
   * @throws ForetokenError INVALID_OPTION, INVALID_PROMPT, CONTEXT_EXCEEDED, ABORTED, ENGINE_CLOSED
   */
  async generate(prompt: Prompt, options?: RequestOptions): Promise<GenerateResult> {
    return this.#startPrompt(prompt, options, callSite()).result;
  }

  /**
   * Like {@link generate}, with the text as it comes.
   *
   * @throws ForetokenError INVALID_OPTION, ENGINE_CLOSED at once; all else when the stream is read.
   */
  stream(prompt: Prompt, options?: RequestOptions): GenerateStream {
    return this.#startPrompt(prompt, options, callSite());
  }

  /**
   * Answers a conversation. Text in messages can't pose as the template's control tokens.
   *
   * @param messages The conversation so far; the last one is usually the user's.
   * @param options See {@link RequestOptions}; `tools` and `variables` are given to the template. With `continueFinalMessage` (default
   *   `false`) the last message is the assistant's, and what comes goes on where its content ends.
   * @throws ForetokenError as {@link generate}, NO_CHAT_TEMPLATE, INVALID_MESSAGES, TEMPLATE_ERROR
   */
  async chat(messages: readonly MessageLike[], options?: ChatOptions): Promise<GenerateResult> {
    return this.#startChat(messages, options, callSite()).result;
  }

  /** Like {@link chat}, with the text as it comes; throws as {@link stream}. */
  chatStream(messages: readonly MessageLike[], options?: ChatOptions): GenerateStream {
    return this.#startChat(messages, options, callSite());
  }

  /**
   * A conversation that keeps its messages, and learns from its own text first.
   *
   * @throws ForetokenError INVALID_OPTION, INVALID_MESSAGES
   */
  session(options?: SessionOptions): Session {
    return new Session(this, checkSessionOptions(options, this.#vocabulary));
  }

  /**
   * The tokens of a text.
   *
   * @param options `special`: text of special tokens becomes those tokens (default `false`); `addBos`: begin as the model
   *   expects a prompt to begin (default `false`).
   * @throws ForetokenError INVALID_OPTION
   */
  tokenize(text: string, options?: { special?: boolean; addBos?: boolean }): number[] {
    if (typeof text !== 'string') throw invalidOption('text', 'a string', text);
    const read = new OptionReader(options, 'options of tokenize');
    const special = read.boolean('special', false);
    const addBos = read.boolean('addBos', false);
    read.finish();
    return this.#tokenizer.encode(text, { special, addBos: addBos && this.#tokenizer.addBos });
  }

  /**
   * The tokens that {@link chat} would give the model for these messages, up to where its answer begins.
   *
   * @param options As for {@link chat}; `addGenerationPrompt`: end with the start of an answer (default `true`, `false` with
   *   `continueFinalMessage`).
   * @throws ForetokenError INVALID_OPTION, INVALID_MESSAGES, NO_CHAT_TEMPLATE, TEMPLATE_ERROR
   */
  async tokenizeChat(
    messages: readonly MessageLike[],
    options?: TemplateOptions & { addGenerationPrompt?: boolean },
  ): Promise<number[]> {
    const read = new OptionReader(options, 'options of tokenizeChat');
    const seen = readTemplateOptions(read);
    const addGenerationPrompt = read.boolean('addGenerationPrompt', !seen.continueFinalMessage);
    read.finish();
    if (addGenerationPrompt && seen.continueFinalMessage)
      throw invalidOption('addGenerationPrompt', 'false beside continueFinalMessage', addGenerationPrompt);
    return this.#encodeChat(messages, { ...seen, addGenerationPrompt }, undefined);
  }

  /**
   * The text of tokens; special tokens are left out unless `special` is true.
   *
   * @throws ForetokenError INVALID_OPTION, INVALID_PROMPT
   */
  detokenize(tokens: readonly number[] | Int32Array, options?: { special?: boolean }): string {
    const read = new OptionReader(options, 'options of detokenize');
    const special = read.boolean('special', false);
    read.finish();
    const known = Math.max(this.#vocabulary, this.#tokenizer.size); // a tokenizer may know tokens that the model has no row for
    return this.#tokenizer.decode(checkTokens(tokens, known), { special });
  }

  /**
   * The bytes that a token stands for, of a special token those of its text: a token may be a part of a character, and its text alone not
   * what it adds to one. Empty for ids that stand for nothing, with which models may round up their vocabulary.
   *
   * @throws ForetokenError INVALID_OPTION
   */
  tokenBytes(id: number): Uint8Array {
    if (!Number.isInteger(id) || id < 0) throw invalidOption('id', 'a token id', id);
    return this.#tokenizer.tokenBytes(id).slice();
  }

  /**
   * What the engine has done and holds.
   *
   * @throws ForetokenError ENGINE_CLOSED
   */
  stats(): EngineStats {
    const native = callNative(() => this.#native.stats());
    const ledger = this.#controller?.ledger;
    return {
      ...native,
      waiting: native.waiting + this.#beginning.size,
      acceptanceLength:
        ledger && ledger.total.sequenceRounds > 0 ? ledger.total.emitted / ledger.total.sequenceRounds : 1,
      speedup: ledger?.speedup ?? 1,
      roundSeconds: ledger?.total.seconds ?? native.decodeSeconds,
      plainSeconds: ledger?.total.plainSeconds ?? native.decodeSeconds,
      calibrationError: this.#controller?.calibration.error ?? 0,
      calibrationSeconds: this.#controller?.calibration.secondsError ?? 0,
      tenants: this.#tenants.toObject(),
    };
  }

  /** What the controller believes, chose and gained, in plain text for people. */
  explain(): string {
    return this.#controller ? explain(this.#controller) : 'Speculation is disabled: every pass decodes one token.';
  }

  /**
   * Forgets what was learned from text: of one session (what it alone has: its tenant keeps what the same text taught), of one tenant (its
   * cached prefixes and its heads too, and what other tenants' heads and groups learned from it), of one group, or of all. A session is a
   * tenant's or a group's; where none is named, those of this name of all are meant; a tenant and a group are two calls. Requests that
   * begin when this has returned find nothing of it, and those that have begun teach nothing. It is gone, in memory and on disk, when the
   * promise resolves: from disk a tenant's also where this engine keeps nothing itself, all tenants' only where it was loaded with
   * `keepLearned`. Counts in {@link stats} stay.
   *
   * @throws ForetokenError INVALID_OPTION, ENGINE_CLOSED, WRITE_FAILED, FILE_UNREADABLE, MANIFEST_INVALID
   */
  async forget(what?: Learned): Promise<void> {
    const { tenant, group, session } = checkLearned(what);
    const learner = group === undefined && tenant === undefined ? undefined : learnerOf(tenant ?? '', group);
    if (session !== undefined) {
      this.#forget(learner, session);
      return this.#settled();
    }
    const kept: Promise<void>[] = [];
    const whole = group === undefined ? tenant : undefined;
    for (const each of [learner, ...(whole === undefined ? [] : this.#groups.of(whole))]) {
      this.#forget(each);
      this.#loop.disown(each);
      this.#controller?.forget(each);
      if (this.#learning) kept.push(this.#learning.forget(each));
      this.#groups.forget(each);
    }
    if (whole !== undefined) this.#dropTaughtBy(whole);
    if (whole !== undefined && !this.#learning?.keeps) kept.push(this.#store.forget(whole));
    await Promise.all([...kept, this.#settled()]);
  }

  /** Waits until native threads have done what was asked so far; an engine that closes waits for it, too. */
  async #settled(): Promise<void> {
    const settled = callNative(() => this.#native.settled());
    this.#settling = Promise.allSettled([this.#settling, settled]).then(() => undefined); // its results would hold those before
    await settled;
  }

  /** In memory: what requests have taught, and what those would that have begun. */
  #forget(tenant: string | undefined, session?: string): void {
    callNative(() => this.#native.forget({ tenant, session }));
    for (const beginning of this.#beginning.keys()) {
      const { options, learner } = beginning;
      const isOfTenant = tenant === undefined || tenant === options.tenant || tenant === learner;
      if (isOfTenant && (session === undefined || session === options.session)) beginning.forgotten = true;
    }
  }

  /** Heads of others in memory that have learned from a tenant's text; what those others have said stays, on disk. */
  #dropTaughtBy(tenant: string): void {
    const learning = this.#learning;
    for (const each of learning?.taughtBy(tenant) ?? []) {
      learning!.keep(each).catch(() => undefined); // an event has told
      this.#drop(each);
    }
  }

  /** Lets go of a learner that is idle: nothing of it stays in memory. */
  #drop(learner: string): void {
    this.#native.forget({ tenant: learner });
    this.#controller?.forget(learner);
    this.#learning?.drop(learner);
    this.#groups.forget(learner);
  }

  /**
   * Writes down what a tenant remembers (text and keys, without its sessions) as a file that {@link LoadOptions.memory} takes.
   *
   * @returns How many tokens it holds.
   * @throws ForetokenError INVALID_OPTION, WRITE_FAILED, ENGINE_CLOSED
   */
  async exportMemory(path: string, tenant = 'default'): Promise<number> {
    if (typeof path !== 'string' || path === '') throw invalidOption('path', 'a string that is not empty', path);
    checkLearned({ tenant });
    const { model, ...memory } = await callNative(() => this.#native.memoryOf(tenant, false));
    await writeMemory(path, memory, model);
    return memory.tokens.length;
  }

  /**
   * Swaps weights while requests run, as reinforcement learning does after every step: all of them or some tensors, in the format
   * that the engine holds. They are read, checked and packed beside decoding and take effect between two passes; whatever is wrong
   * with them leaves the engine as it was. Later requests get the new weights' text, token for token; cached prefixes are dropped. What
   * was learned from text stays, as far as it still guesses right, but is not kept on disk any more; heads that learned have to be found
   * better again. The model's `sourceHash` names the new weights.
   *
   * @param source A GGUF file, a `.safetensors` file, a folder of them, or tensors in memory. Tensors that are one matrix in memory
   *   (query, key and value; gate and up) come together.
   * @param options See {@link UpdateWeightsOptions}.
   * @throws ForetokenError INVALID_OPTION, UNKNOWN_TENSOR, INCOMPLETE_MATRIX, WRONG_TENSOR_SHAPE, SIZE_MISMATCH, BAD_SHAPE,
   *   DUPLICATE_TENSOR, NO_TENSORS, UNSUPPORTED_TENSOR_TYPE, NON_FINITE_WEIGHT, NAN_SCALE, OUT_OF_MEMORY, UPDATE_RUNNING,
   *   ENGINE_CLOSED, and the codes of files that are not what they claim to be.
   */
  async updateWeights(source: WeightSource, options?: UpdateWeightsOptions): Promise<WeightUpdate> {
    this.#requireOpen();
    const checked = checkUpdate(source, options);
    if (this.#updating)
      throw new ForetokenError('UPDATE_RUNNING', 'Weights are being updated; await that update first.');
    const begin = performance.now();
    try {
      this.#updating = callNative(() => this.#native.updateWeights(checked.source, checked.inFlight));
      this.#learning?.weightsWillMove();
      const update = await this.#updating;
      this.#learning?.weightsMoved();
      return { ...update, seconds: (performance.now() - begin) / 1000 };
    } finally {
      this.#updating = undefined;
    }
  }

  /**
   * Closes the engine: takes no more requests, lets those that it has taken come to their end (also streams that nobody reads),
   * and frees everything. Can be called again; every call waits for the same end. It waits as long as requests take: to bound that, give
   * them a `signal` and abort it.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    await Promise.allSettled(this.#beginning.values());
    await this.#loop.drain();
    await this.#updating?.catch(() => undefined);
    await this.#learners.settled();
    await this.#learning?.close();
    for (let last: unknown; last !== this.#settling;) await (last = this.#settling);
    await this.#native.close();
  }

  get #tokenizer(): Tokenizer {
    return this.#source.tokenizer;
  }

  #startPrompt(prompt: Prompt, options: RequestOptions | undefined, site: CallSite): GenerateStream {
    this.#requireOpen();
    const checked = checkRequestOptions(options, this.#vocabulary);
    if (typeof prompt !== 'string' && !Array.isArray(prompt) && !(prompt instanceof Int32Array)) {
      throw invalidOption('prompt', 'a string or an array of token ids', prompt);
    }
    return this.#start(checked, site, false, () => this.#encodePrompt(prompt, checked.signal));
  }

  #startChat(messages: readonly MessageLike[], options: ChatOptions | undefined, site: CallSite): GenerateStream {
    this.#requireOpen();
    const { request, template } = checkChatOptions(options, this.#vocabulary);
    const encoding = { ...template, most: this.#contextLength };
    return this.#start(request, site, !template.continueFinalMessage, async () =>
      this.#withRoom(await this.#encodeChat(messages, encoding, request.signal)),
    );
  }

  async #encodeChat(
    messages: readonly MessageLike[],
    options: ChatRenderOptions & Pick<EncodeOptions, 'most'>,
    signal: AbortSignal | undefined,
  ): Promise<number[]> {
    this.#chat ??= new Chat(this.#source.metadata, this.#tokenizer);
    return this.#chat.encode(messages, options, signal);
  }

  async #encodePrompt(prompt: Prompt, signal: AbortSignal | undefined): Promise<ArrayLike<number>> {
    if (typeof prompt !== 'string') return checkTokens(prompt, this.#vocabulary);
    const options = { addBos: this.#tokenizer.addBos, most: this.#contextLength };
    return this.#withRoom(await this.#tokenizer.encodeAsync(prompt, options, signal));
  }

  /** The tokens of a prompt's text, which was encoded up to the end of the context. Throws CONTEXT_EXCEEDED. */
  #withRoom(tokens: number[]): number[] {
    const { length } = tokens;
    if (length < this.#contextLength) return tokens;
    const held = `the engine's context holds ${this.#contextLength} with at least one to generate`;
    const helps = 'shorten it, or load the model with a larger contextLength, up to its own';
    throw new ForetokenError('CONTEXT_EXCEEDED', `the prompt has ${length} tokens or more, ${held}: ${helps}`);
  }

  async #encodePrediction({ prediction, signal }: CheckedRequestOptions): Promise<ArrayLike<number>> {
    return prediction === '' ? [] : this.#tokenizer.encodeAsync(prediction, { most: this.#contextLength }, signal);
  }

  /** `answers`: what comes is a text of its own; otherwise it goes on where the prompt's text ends. */
  #start(
    options: CheckedRequestOptions,
    site: CallSite,
    answers: boolean,
    encode: () => Promise<ArrayLike<number>>,
  ): GenerateStream {
    const beginning = { options, learner: learnerOf(options.tenant, options.group), forgotten: false };
    const generation = this.#begin(beginning, site, answers, encode).catch((error: unknown) => {
      throw atCallSite(error, site);
    });
    const begun = (): void => void this.#beginning.delete(beginning);
    this.#beginning.set(beginning, generation);
    generation.then(begun, begun);
    return new GenerateStream(generation);
  }

  async #begin(
    beginning: Beginning,
    site: CallSite,
    answers: boolean,
    encode: () => Promise<ArrayLike<number>>,
  ): Promise<Generation> {
    const { options, learner } = beginning;
    const prompt = Int32Array.from(await encode());
    if (prompt.length === 0)
      throw new ForetokenError('INVALID_PROMPT', 'The prompt has no tokens; give it at least one');
    const prediction = await this.#encodePrediction(options);
    const names = new Set([options.tenant, learner]);
    const entered = await Promise.all(Array.from(names, (each) => this.#learners.enter(each)));
    const leave = (): void => entered.forEach((left) => left());
    try {
      const generation = await this.#submit(beginning, site, answers, prompt, prediction);
      void generation.used.finally(leave);
      return generation;
    } catch (error) {
      leave();
      throw error;
    }
  }

  async #submit(
    beginning: Beginning,
    site: CallSite,
    answers: boolean,
    prompt: Int32Array,
    prediction: ArrayLike<number>,
  ): Promise<Generation> {
    await this.#learning?.open(beginning.learner);
    const { learner, forgotten } = beginning;
    const options = forgotten ? nobodys(beginning.options) : beginning.options;
    const named = options.stop.flatMap((text) => this.#tokenizer.controlToken(text) ?? []);
    const stopTokens = [...options.stopTokens, ...named, ...(options.ignoreEos ? [] : this.#tokenizer.eosIds)];
    const request = toNative(options, prompt, Int32Array.from(prediction), Int32Array.from(new Set(stopTokens)));
    if (this.#controller) sendPolicies(this.#controller, this.#native); // it begins with all that is known by now
    if (!forgotten) this.#groups.join(options.tenant, learner);
    const start = answers || prompt.every((token) => this.#tokenizer.isSpecial(token));
    const text = new TextStream(this.#tokenizer, { start, special: options.special });
    const generation = this.#loop.start(
      request,
      {
        promptTokens: prompt.length,
        stopTokens: new Set(stopTokens),
        stop: options.stop,
        logprobs: options.logprobs,
        explain: options.explain,
        record: options.speculation.record,
        owner: forgotten || options.speculation.record ? undefined : { tenant: learner, kind: kindOf(options) },
      },
      { push: (token) => text.push([token]), end: () => text.end() },
      site,
      options.signal,
    );
    void generation.used.then((usage) => this.#tenants.add(beginning.options.tenant, usage));
    if (forgotten)
      void generation.used.then(() => this.#native.forget({ tenant: options.tenant })).catch(() => undefined); // closed
    return generation;
  }

  #requireOpen(): void {
    if (this.#closing) throw new ForetokenError('ENGINE_CLOSED', 'The engine is closed or closing.');
  }

  #onOutcomes(outcomes: NativeOutcomes): void {
    const controller = this.#controller;
    controller?.observe(outcomes, (sequence) => this.#loop.ownerOf(sequence));
    this.#loop.onOutcomes(outcomes);
    if (!controller) return;
    try {
      sendPolicies(controller, this.#native);
    } catch {
      // Nobody waits here: the next request sends them again, and fails with it.
    }
  }
}

async function startController(
  native: NativeEngine,
  cacheFolder: string,
  clock: LogicalClock | undefined,
  onEvent: CheckedLoadOptions['onEvent'],
): Promise<Controller> {
  const profile = clock?.profile ?? (await loadProfile(native, cacheFolder));
  const logical = clock && { now: clock.now, measured: false };
  const controller = new Controller(profile, {
    ...logical,
    onDrift: (learner, it) => onEvent(driftEvent(learner, it)),
  });
  for (const policy of controller.nextPolicies()) sendPolicy(policy, native);
  return controller;
}

/**
 * Tables only say what pays: no request fails for one that the engine has no memory to hear, which is sent with the next ones, nor for one
 * that comes when it is closing.
 *
 * @throws ForetokenError Whatever else the engine says of a table.
 */
function sendPolicies(controller: Controller, native: NativeEngine): void {
  const policies = controller.nextPolicies();
  let sent = 0;
  try {
    for (; sent < policies.length; ++sent) sendPolicy(policies[sent], native);
  } catch (error) {
    controller.unheard(policies.slice(sent));
    const isClosed = (error as { code?: unknown }).code === 'ENGINE_CLOSED';
    if (!isClosed && !isLackOfMemory(error)) throw ForetokenError.from(error);
  }
}

function sendPolicy({ tenant, policy }: TenantPolicy, native: NativeEngine): void {
  if (policy) native.setPolicy(policy, tenant);
  else native.dropPolicy(tenant!);
}

/** The same request of nobody: nothing is learned from it, and no other one finds what is computed for it. */
function nobodys(options: CheckedRequestOptions): CheckedRequestOptions {
  return { ...options, tenant: randomUUID(), group: '', learn: Learn.nothing };
}

function toNative(
  options: CheckedRequestOptions,
  prompt: Int32Array,
  prediction: Int32Array,
  stopTokens: Int32Array,
): NativeRequest {
  return {
    tenant: options.tenant,
    learner: learnerOf(options.tenant, options.group),
    session: options.session,
    prompt,
    maxTokens: Math.min(options.maxTokens, 2 ** 31 - 1),
    stopTokens,
    temperature: options.temperature,
    topK: options.topK,
    topP: options.topP,
    minP: options.minP,
    repetitionPenalty: options.repetitionPenalty,
    presencePenalty: options.presencePenalty,
    frequencyPenalty: options.frequencyPenalty,
    penaltyWindow: options.penaltyWindow,
    biasTokens: options.biasTokens,
    biasValues: options.biasValues,
    seed: options.seed,
    logprobs: options.logprobs,
    prediction,
    learn: options.learn,
    speculation: { ...options.speculation, force: -1 },
  };
}
