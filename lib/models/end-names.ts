/**
 * Control tokens that end an answer by their name, whatever the file's EOS is: chat models end their turn with one and a
 * document with another.
 */
const END_NAMES: ReadonlySet<string> = new Set([
  '<|im_end|>',
  '<|endoftext|>',
  '<|eot_id|>',
  '<|eom_id|>',
  '<|end_of_text|>',
  '<|end|>',
  '<end_of_turn>',
  '<|end_of_turn|>',
  '<|return|>',
  '<EOT>',
  '<｜end▁of▁sentence｜>',
]);

/** Whether a token of this text ends an answer, and is a control token even where its file says that it is text. */
export function isEndName(text: string): boolean {
  return END_NAMES.has(text);
}

/**
 * The same of a GGUF file's token, as llama.cpp sees it.
 *
 * @param type Its `tokenizer.ggml.token_type`: normal, the default, control or user-defined.
 */
export function endsByName(text: string, type = 1): boolean {
  return (type === 1 || type === 3 || type === 4) && isEndName(text);
}
