import { checkContinues, messagesForTemplate, type ChatMessage } from '../../lib/models/messages';

const invalid = (...parts: string[]): Error => {
  const message = expect.stringMatching(new RegExp(parts.join('.*'))) as string;
  return expect.objectContaining({ code: 'INVALID_MESSAGES', message }) as Error;
};

test('parts of text are one text', () => {
  const parts = [
    { type: 'text', text: 'Hello, ' },
    { type: 'text', text: 'you' },
  ];
  const given = [
    { role: 'user', content: parts, name: 'Ada' },
    { role: 'assistant', content: [] },
  ];
  expect(messagesForTemplate(given)).toEqual([
    { role: 'user', content: 'Hello, you', name: 'Ada' },
    { role: 'assistant', content: '' },
  ]);
  expect(given[0].content).toBe(parts);
});

test.each<[unknown, string[]]>([
  [undefined, ['not an array']],
  [null, ['not an array']],
  [{ role: 'user', content: 'hi' }, ['not an array']],
  [[], ['none']],
  [['hi'], ['message 0', 'not an object']],
  [[,], ['message 0', 'not an object']],
  [[{ content: 'hi' }], ['message 0', 'role']],
  [[{ role: 7n, content: 'hi' }], ['message 0', 'role']],
  [[{ role: 'user', content: 42 }], ['message 0', 'number', 'string']],
  [[{ role: 'user', content: { text: 'hi' } }], ['message 0', 'object', 'string']],
  [
    [{ role: 'user', content: 'hi' }, { role: 'assistant' }],
    ['message 1', 'no content', 'tool_calls'],
  ],
  [[{ role: 'user', content: null }], ['message 0', 'no content']],
  [[{ role: 'assistant', content: null, tool_calls: [] }], ['message 0', 'no content']],
  [[{ role: 'user', content: [{ type: 'image_url', image_url: {} }] }], ['message 0', 'image_url', 'text']],
  [[{ role: 'user', content: [{ type: 'text', text: 5 }] }], ['message 0', 'part', 'text is 5']],
  [[{ role: 'user', content: ['hi', null] }], ['message 0', 'part']],
])('%j is refused, with what would do', (messages, parts) => {
  expect(() => messagesForTemplate(messages)).toThrow(invalid(...parts));
});

test('a message with tool calls may have no content, null or absent as it was', () => {
  const calls = [{ function: { name: 'now', arguments: {} } }];
  const messages = [
    { role: 'assistant', content: null, tool_calls: calls },
    { role: 'assistant', tool_calls: calls },
  ];
  const [isNull, isAbsent] = messagesForTemplate(messages);
  expect(isNull.content).toBeNull();
  expect('content' in isAbsent).toBe(false);
});

test('what goes on is a last message of the assistant, of nothing but text', () => {
  const asked: ChatMessage = { role: 'user', content: 'Hi' };
  checkContinues([asked, { role: 'assistant', content: 'He' }]);
  const calls = [{ function: { name: 'now' } }];
  for (const last of [
    asked,
    { role: 'assistant', content: null, tool_calls: calls },
    { role: 'assistant', content: 'He', tool_calls: calls },
  ]) {
    expect(() => checkContinues([asked, last])).toThrow(invalid('continueFinalMessage', 'assistant'));
  }
});
