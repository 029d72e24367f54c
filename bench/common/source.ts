import { loadBinding } from '../../lib/binding';
import { checkLoadOptions } from '../../lib/engine/load-options';
import { openModel, type ModelSource } from '../../lib/engine/model-source';
import type { ChatMessage } from '../../lib/index';
import { Chat } from '../../lib/models/chat';

/** A model's files, tokenizer and template, without its weights. */
export function openSource(ref: string): Promise<ModelSource> {
  return openModel(ref, checkLoadOptions({}), loadBinding());
}

/** A conversation as the model reads it. */
export async function chatTokens(source: ModelSource, messages: ChatMessage[]): Promise<Int32Array> {
  return Int32Array.from(await new Chat(source.metadata, source.tokenizer).encode(messages, {}, undefined));
}
