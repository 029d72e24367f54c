import { ChatTemplate } from '../../lib/models/chat-template';
import type { ChatMessage } from '../../lib/models/messages';
import { argumentFormOf, withArguments } from '../../lib/models/tool-calls';

const asked = (given: unknown): ChatMessage[] => [
  { role: 'user', content: 'x' },
  { role: 'assistant', tool_calls: [{ id: 'a', function: { name: 'f', arguments: given } }] },
];

test.each([
  ['writes them as JSON', '{{ call.function.arguments | tojson }}', 'object'],
  ['writes calls as JSON', '{{ call | tojson }}', 'object'],
  ['goes through them', '{% for name, value in call.function.arguments | items %}{{ value }}{% endfor %}', 'object'],
  ['joins them to other text', "{{ 'json ' + call.function.arguments + ' end' }}", 'text'],
  ['takes both', '{% set it = call.function.arguments %}{{ it if it is string else it | tojson }}', 'object'],
  ['needs messages without content', "{% if m.content is none %}{{ '' + call.function.arguments }}{% endif %}", 'text'],
  ['needs content', '{{ m.content + call.function.arguments }}', 'text'],
  ['leaves calls out', '', 'object'],
])('a template that %s', (_, written, form) => {
  const calls = `{% for call in m.tool_calls %}${written}{% endfor %}`;
  const template = `{% for m in messages %}{% if m.tool_calls %}${calls}{% endif %}{% endfor %}`;
  expect(argumentFormOf(new ChatTemplate(template))).toBe(form);
});

test('where it takes an object, JSON that is one becomes that object; other text stays', () => {
  const template = { argumentForm: 'object' } as const;
  const object = { city: 'Paris', days: [1, 2] };
  expect(withArguments(asked(JSON.stringify(object)), template)).toEqual(asked(object));
  for (const kept of ['{"city": ', 'Paris', '5', '[1]', '', object, undefined]) {
    expect(withArguments(asked(kept), template)).toEqual(asked(kept));
  }
  const odd = [{ role: 'assistant', content: '', tool_calls: [null, 'f', { name: 'f', arguments: '{}' }] }];
  expect(withArguments(odd, template)).toEqual(odd);
});

test('where it takes text, an object becomes JSON, and text stays', () => {
  const template = { argumentForm: 'text' } as const;
  expect(withArguments(asked({ city: 'Paris' }), template)).toEqual(asked('{"city":"Paris"}'));
  for (const kept of ['{"city": "Paris"}', 'Paris', '', undefined]) {
    expect(withArguments(asked(kept), template)).toEqual(asked(kept));
  }
  const loop: Record<string, unknown> = {};
  loop.self = loop;
  expect(() => withArguments(asked(loop), template)).toThrow(expect.objectContaining({ code: 'INVALID_MESSAGES' }));
});

test('a template is asked only where there are calls', () => {
  const template = {
    get argumentForm(): never {
      throw new Error('asked');
    },
  };
  const messages = [{ role: 'user', content: 'x', tool_calls: [] }];
  expect(withArguments(messages, template)).toEqual(messages);
});
