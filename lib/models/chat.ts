import { ForetokenError } from '../error';
import { tookTooLong } from './chat-template';
import { GuardedTemplate, type ChatRenderOptions, type RenderedChat } from './guarded-template';
import {
  checkContinues,
  hasContent,
  isCalling,
  messagesForTemplate,
  withNothingSaidOtherwise,
  type ChatMessage,
} from './messages';
import type { ModelMetadata } from './metadata';
import type { EncodeOptions, Tokenizer } from './tokenizer';
import { withArguments } from './tool-calls';

type ChatMetadata = Pick<ModelMetadata, 'chatTemplate' | 'toolTemplate' | 'templateTokens' | 'bosId' | 'eosIds'>;

/** Turns conversations into tokens. Text from people can't become a control token: see {@link GuardedTemplate}. */
export class Chat {
  private readonly template: GuardedTemplate;
  /** Made when tools are first given or called: whoever has none needs no template for them that can be used. */
  private toolTemplate: GuardedTemplate | undefined;

  /**
   * @param metadata The model's; it must have a chat template.
   * @param tokenizer The model's.
   * @throws ForetokenError `NO_CHAT_TEMPLATE` if the model has none, `TEMPLATE_ERROR` if it is not Jinja.
   */
  constructor(
    private readonly metadata: ChatMetadata,
    private readonly tokenizer: Tokenizer,
  ) {
    if (metadata.chatTemplate === undefined) {
      throw new ForetokenError('NO_CHAT_TEMPLATE', 'The model has no chat template; give it a plain prompt instead');
    }
    this.template = this.compile(metadata.chatTemplate);
  }

  /**
   * The tokens of a conversation, ready to be answered.
   *
   * @param messages The conversation.
   * @param options See `ChatRenderOptions`, and `EncodeOptions` for `most`.
   * @param signal Ends the work early.
   * @throws ForetokenError `INVALID_MESSAGES` if they are not messages, or not such that their last one can be continued;
   *   `TEMPLATE_ERROR` if the template fails, or ignores the tools or their calls; `ABORTED`.
   */
  async encode(
    messages: readonly ChatMessage[],
    { most, ...options }: ChatRenderOptions & Pick<EncodeOptions, 'most'> = {},
    signal?: AbortSignal,
  ): Promise<number[]> {
    const { text, mark } = this.render(messages, options);
    return this.tokenizer.encodeAsync(text, { special: true, mark, most }, signal);
  }

  /** The prompt of a conversation and the mark in it; {@link encode} is what is usually wanted. */
  render(messages: readonly ChatMessage[], options: ChatRenderOptions = {}): RenderedChat {
    const said = messagesForTemplate(messages);
    if (options.continueFinalMessage) checkContinues(said);
    const template = this.templateFor(Boolean(options.tools?.length) || said.some(isCalling));
    const given = withArguments(said, template);
    try {
      return template.render(given, options);
    } catch (error) {
      // Of messages that only call tools some templates need a content, others that there is none.
      const otherwise = tookTooLong(error) ? undefined : withNothingSaidOtherwise(given);
      if (!otherwise) throw error;
      try {
        return template.render(otherwise, options);
      } catch (again) {
        throw given.every(hasContent) ? error : again; // a template that fails for want of a content says nothing else
      }
    }
  }

  private templateFor(hasTools: boolean): GuardedTemplate {
    const { toolTemplate } = this.metadata;
    if (!hasTools || toolTemplate === undefined) return this.template;
    return (this.toolTemplate ??= this.compile(toolTemplate));
  }

  private compile(source: string): GuardedTemplate {
    const { templateTokens, bosId, eosIds } = this.metadata;
    const textOf = (id: number | undefined): string =>
      id === undefined ? '' : this.tokenizer.decode([id], { special: true, start: false });
    const tokens = templateTokens ?? { bos: textOf(bosId), eos: textOf(eosIds[0]) };
    return new GuardedTemplate(source, tokens, this.tokenizer);
  }
}
