import { createContext, Script } from 'node:vm';
import { ForetokenError } from '../error';
import { LibraryTemplate } from './huggingface';
import { isCalling, type ChatMessage } from './messages';

/** Limits on templates: they come with files from strangers. The time is the clock's, on a machine that may be busy otherwise. */
const MAX_TEMPLATE = 1 << 20;
const MAX_RENDER_MS = 10_000;

/** Text of the BOS and EOS tokens as a template writes them, empty where a model has none. */
export interface TemplateTokens {
  bos: string;
  eos: string;
}

/** What a template is rendered with. */
export interface RenderOptions {
  /** Descriptions of the functions that the model may call. Defaults to none. */
  tools?: readonly unknown[];
  /** End with the start of an answer. Defaults to true. */
  addGenerationPrompt?: boolean;
  /**
   * Further variables, like `enable_thinking`; not those that it is given anyhow: `messages`, `tools`, `add_generation_prompt`, `bos_token`,
   * `eos_token`. Defaults to none.
   */
  variables?: object;
}

/** What every template is given, whatever else is. */
function given(
  { bos, eos }: TemplateTokens,
  messages: readonly ChatMessage[],
  { tools, addGenerationPrompt = true }: RenderOptions,
): Record<string, unknown> {
  return {
    bos_token: bos,
    eos_token: eos,
    messages,
    tools: tools?.length ? tools : null,
    add_generation_prompt: addGenerationPrompt,
  };
}

/** The names of that: no further variable may have one of them. */
export const givenVariables: readonly string[] = Object.keys(given({ bos: '', eos: '' }, [], {}));

/** The Jinja template that turns a conversation into a prompt, as transformers' `apply_chat_template` does. */
export class ChatTemplate {
  private readonly template: InstanceType<typeof LibraryTemplate>;

  /**
   * @param source The template's text.
   * @param tokens What it writes as `bos_token` and `eos_token`. Defaults to nothing.
   * @throws ForetokenError `TEMPLATE_ERROR` if the template is too large or not Jinja.
   */
  constructor(
    source: string,
    private readonly tokens: TemplateTokens = { bos: '', eos: '' },
  ) {
    if (source.length > MAX_TEMPLATE) throw templateError(`it has ${source.length} characters`);
    this.template = guarded(() => new LibraryTemplate(source));
  }

  /**
   * The prompt of a conversation. Control tokens in it are text; `Chat` keeps those that messages contain
   * apart from the template's own.
   *
   * @throws ForetokenError `TEMPLATE_ERROR` if the template refuses the messages, fails, takes too long, or ignores the tools or the calls
   *   of tools: the prompt is the same without them.
   */
  render(messages: readonly ChatMessage[], options: RenderOptions = {}): string {
    const prompt = this.write(messages, options);
    if (options.tools?.length && this.writes(prompt, messages, { ...options, tools: undefined }))
      throw templateError('it writes nothing of the tools; describe them in the system message instead');
    if (messages.some(isCalling) && this.writes(prompt, messages.map(withoutCalls), options))
      throw templateError(
        'it writes nothing of tool_calls; say in the content of the message what is called, without them',
      );
    return prompt;
  }

  /** Whether a prompt is the same with less than it was made of. A template that fails then needs what is left out. */
  private writes(prompt: string, messages: readonly ChatMessage[], options: RenderOptions): boolean {
    try {
      return this.write(messages, options) === prompt;
    } catch {
      return false;
    }
  }

  private write(messages: readonly ChatMessage[], options: RenderOptions): string {
    const variables = { ...options.variables, ...given(this.tokens, messages, options) };
    return guarded(() => this.template.render(variables));
  }
}

function withoutCalls({ tool_calls: _, ...message }: ChatMessage): ChatMessage {
  return message;
}

const script = new Script('work()');
/** Only a script can be given a time limit; this one calls what it is handed. */
const context: { work?: () => unknown } = createContext({});

/** Runs work of a template: with a limit on its time, and its errors told as ours. */
function guarded<T>(work: () => T): T {
  try {
    context.work = work;
    return script.runInContext(context, { timeout: MAX_RENDER_MS }) as T;
  } catch (error) {
    if (isTimeout(error)) {
      throw templateError(`it takes more than ${MAX_RENDER_MS} ms`, error);
    }
    throw templateError(error instanceof Error ? error.message : String(error), error);
  }
}

function isTimeout(error: unknown): boolean {
  return (error as NodeJS.ErrnoException | undefined)?.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT';
}

/** Whether rendering ended with an error because of the time it took. */
export function tookTooLong(error: unknown): boolean {
  return error instanceof ForetokenError && isTimeout(error.cause);
}

/** The error of a template that can't be used. */
export function templateError(what: string, cause?: unknown): ForetokenError {
  return new ForetokenError('TEMPLATE_ERROR', `The model's chat template can't be used: ${what}`, { cause });
}
