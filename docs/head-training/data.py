"""Texts that the shipped draft head learns from: python data.py OUT SOURCES SEED EXCLUDE.jsonl...

SOURCES holds clones of TheAlgorithms/Python, TheAlgorithms/Rust, tokio-rs/axum (MIT), yizhongw/self-instruct (Apache-2.0),
30-seconds/30-seconds-of-code (CC0) and of five of GITenberg's books (public domain), each in a folder of its name, and train.jsonl
(openai/grade-school-math, MIT) and mbpp.jsonl (CC BY 4.0) in `math` and `mbpp`. Whatever stands in the EXCLUDE files is left out: the benchmarks'
streams, and what earlier runs have learned from.

OUT/prompts.jsonl: {group, messages}, for the target to answer; OUT/given.jsonl: {group, messages, answer}, text as it is.
"""
import json
import pathlib
import random
import re
import sys

out, sources = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
random.seed(int(sys.argv[3]))
excluded = ''.join(pathlib.Path(path).read_text() for path in sys.argv[4:])
prompts, given = [], []


def known(text):
    """Whether a benchmark asks this: compared as it stands in JSON."""
    return json.dumps(text, ensure_ascii=False)[1:81] in excluded or json.dumps(text)[1:81] in excluded


def chat(user, system=None):
    return ([{'role': 'system', 'content': system}] if system else []) + [{'role': 'user', 'content': user}]


def ask(group, user, system=None, ours=False):
    if ours or not known(user):
        prompts.append({'group': group, 'messages': chat(user, system)})


def tell(group, user, answer, system=None, ours=False):
    if ours or not known(user) and not known(answer):
        given.append({'group': group, 'messages': chat(user, system), 'answer': answer})


def records(*path):
    return [json.loads(line) for line in sources.joinpath(*path).read_text().splitlines() if line.strip()]


def math():
    questions = [r for r in records('math', 'train.jsonl') if not known(r['question'])]
    random.shuffle(questions)
    for r in questions[:700]:
        ask('math', r['question'])
    for r in questions[700:]:
        tell('math', r['question'], re.sub(r'<<.*?>>', '', r['answer']))


def code():
    for r in records('mbpp', 'mbpp.jsonl'):
        ask('code', f"{r['text']} Write it in {random.choice(['Python', 'Python', 'JavaScript', 'Rust', 'C'])}.")
    for repository, language, suffix in (('Python', 'Python', '.py'), ('Rust', 'Rust', '.rs'), ('axum', 'Rust', '.rs')):
        files = sorted(p for p in (sources / repository).rglob(f'*{suffix}') if 400 < p.stat().st_size < 60_000)
        random.shuffle(files)
        for i, path in enumerate(files):
            text, name = path.read_text(errors='ignore'), path.stem.replace('_', ' ')
            start = text[:900].rsplit('\n', 1)[0]
            if i % 10 == 0:
                ask('code', f'Explain this {language} code.\n\n```{language.lower()}\n{start}\n```')
            elif i % 10 == 1:
                change = random.choice(['Add comments to', 'Rename the variables to be clearer in', 'Add error handling to'])
                ask('edit', f'{change} this code. Reply with the whole code.\n\n```{language.lower()}\n{start}\n```')
            for at in range(0, len(text) - 400, 1700):
                asked = f'Write {name} in {language}.' if at == 0 else f'Go on writing {name} in {language}.'
                tell('code', asked, f'```{language.lower()}\n{text[at : at + 1700]}\n```')
    for path in sorted((sources / '30-seconds-of-code').rglob('snippets/*.md')):
        title, _, body = path.read_text().partition('---')[2].partition('---')
        tell('code', f'Write the function `{path.stem}` in JavaScript and say how it works.', body.strip())


def chats():
    for r in records('self-instruct', 'human_eval', 'user_oriented_instructions.jsonl') + records('self-instruct', 'data', 'seed_tasks.jsonl'):
        for instance in r['instances'][:1]:
            ask('chat', r['instruction'] + (f"\n\n{instance['input']}" if instance['input'] else ''))
    topics = ('a rainy day', 'the moon', 'bread', 'bicycles', 'computers', 'the sea', 'music', 'winter', 'volcanoes', 'friendship', 'trees',
              'history', 'money', 'sleep', 'birds', 'tea', 'railways', 'electricity', 'gardens', 'maps', 'chess', 'rivers', 'bridges', 'health',
              'the Roman Empire', 'coffee', 'photosynthesis', 'gravity', 'democracy', 'islands', 'football', 'cooking', 'whales', 'glass', 'paper',
              'the printing press', 'vaccines', 'black holes', 'the internet', 'cats', 'deserts', 'poetry', 'salt', 'clocks', 'earthquakes', 'bees',
              'the Silk Road', 'robots', 'painting', 'markets', 'lighthouses', 'dreams', 'cities', 'mountains', 'theatre', 'insurance', 'batteries')
    forms = ('Write a short story about {}.', 'Explain {} to a child.', 'Give five interesting facts about {}.', 'Write a poem about {}.',
             'What are the advantages and disadvantages of {}?', 'Write an email to a colleague about {}.', 'How did {} change the world?',
             'Plan a weekend around {}.', 'Write a dialogue between two people who disagree about {}.', 'What should a beginner know about {}?',
             'Write a blog post about {}.', 'Where does the word come from, and what is the history of {}?', 'Compare {} of today with {} of 1900.',
             'Who are the most famous people in the history of {}?', 'Give me ten questions for a quiz about {}, with their answers.')
    for topic in topics:
        for form in random.sample(forms, 8):
            ask('chat', form.format(topic, topic))


def prose():
    books = ('Pride-and-Prejudice_1342/1342-0', 'The-Adventures-of-Sherlock-Holmes_1661/1661', 'A-Tale-of-Two-Cities_98/98-0', 'Frankenstein_84/84-0',
             'The-War-of-the-Worlds_36/36-0')
    texts = (sources.joinpath(f'{book}.txt').read_text(errors='ignore')[20_000:-20_000] for book in books)
    pieces = [re.sub(r'\s+', ' ', p) for text in texts for p in re.split(r'\r?\n\s*\n', text)]
    pieces = [p for p in pieces if 300 < len(p) < 1600]
    random.shuffle(pieces)
    for i, piece in enumerate(pieces[:640]):
        form = ('Summarize this text:', 'Translate this text to German:', 'Rewrite this text in modern English:', 'Who is mentioned here, and what do they want?',
                'What happened here? Answer from the text alone.')
        ask('reading', f'{form[i % 5]}\n\n{piece}')
    for piece in pieces[640:]:
        cut = piece.find(' ', len(piece) // 4)
        tell('prose', f'Continue this text:\n\n{piece[:cut]}', piece[cut + 1 :])


KINDS = {'orders': 'order', 'customers': 'customer', 'products': 'product', 'employees': 'employee', 'books': 'book', 'flights': 'flight',
         'players': 'player', 'courses': 'course', 'songs': 'song', 'hotels': 'hotel', 'cars': 'car', 'invoices': 'invoice', 'patients': 'patient'}
COLUMNS = {'name': 'TEXT', 'city': 'TEXT', 'price': 'REAL', 'year': 'INTEGER', 'rating': 'REAL', 'status': 'TEXT', 'country': 'TEXT', 'age': 'INTEGER',
           'quantity': 'INTEGER', 'created_at': 'DATE', 'category': 'TEXT', 'total': 'REAL'}


def sql():
    for i in range(700):
        (a, _), (b, singular) = random.sample(sorted(KINDS.items()), 2)
        columns = {t: random.sample(sorted(COLUMNS), 4) for t in (a, b)}
        schema = ''.join(
            f'CREATE TABLE {t} (id INTEGER PRIMARY KEY, ' + (f'{singular}_id INTEGER, ' if t == a else '')
            + ', '.join(f'{c} {COLUMNS[c]}' for c in columns[t]) + ');\n' for t in (a, b))
        x, y = random.sample(columns[a], 2)
        z = random.choice(columns[b])
        number = next((c for c in columns[a] if COLUMNS[c] != 'TEXT'), 'id')
        question, answer = random.choice((
            (f'How many {a} are there for each {x}?', f'SELECT {x}, COUNT(*) FROM {a} GROUP BY {x};'),
            (f'List the {x} and {y} of all {a}, ordered by {y}.', f'SELECT {x}, {y} FROM {a} ORDER BY {y};'),
            (f'What is the average {number} of the {a}?', f'SELECT AVG({number}) FROM {a};'),
            (f'Which {a} have the highest {number}?', f'SELECT * FROM {a} WHERE {number} = (SELECT MAX({number}) FROM {a});'),
            (f'Show the {z} of the {singular} of every one of the {a} with its {x}.',
             f'SELECT {b}.{z}, {a}.{x} FROM {a} JOIN {b} ON {a}.{singular}_id = {b}.id;'),
            (f'How many {a} does each {singular} have? Show its {z}, most first.',
             f'SELECT {b}.{z}, COUNT({a}.id) AS count FROM {b} LEFT JOIN {a} ON {a}.{singular}_id = {b}.id GROUP BY {b}.id ORDER BY count DESC;')))
        user = f'Here is the schema of a database:\n\n{schema}\nWrite a SQL query: {question}'
        if i < 350:
            ask('sql', user, ours=True)
        else:
            tell('sql', user, f'```sql\n{answer}\n```', ours=True)


def tools():
    verbs = ('get', 'find', 'create', 'update', 'delete', 'book', 'send', 'convert', 'calculate', 'schedule')
    nouns = {'weather': ('city', 'date'), 'route': ('origin', 'destination'), 'meeting': ('title', 'time'), 'message': ('recipient', 'text'),
             'loan': ('amount', 'years'), 'ticket': ('event', 'seats'), 'recipe': ('ingredient', 'servings'), 'currency': ('amount', 'to'),
             'reminder': ('text', 'time'), 'translation': ('text', 'language')}
    values = {'city': ('Paris', 'Tokyo', 'Oslo', 'Lima'), 'date': ('2024-05-01', 'tomorrow'), 'origin': ('Berlin', 'Rome'), 'destination': ('Madrid', 'Vienna'),
              'title': ('Budget review', 'Planning'), 'time': ('10:00', '15:30'), 'recipient': ('Anna', 'Tom'), 'text': ('I will be late', 'Call the bank'),
              'amount': (1000, 250, 20000), 'years': (5, 10), 'event': ('the concert', 'the match'), 'seats': (2, 4), 'ingredient': ('rice', 'lentils'),
              'servings': (2, 6), 'to': ('EUR', 'JPY'), 'language': ('French', 'Polish')}
    for i in range(600):
        chosen = random.sample([(v, n) for v in verbs for n in nouns], 3)
        functions = [{'name': f'{v}_{n}', 'description': f'{v.capitalize()}s a {n}.', 'parameters': {p: {'type': 'string'} for p in nouns[n]}} for v, n in chosen]
        verb, noun = chosen[random.randrange(3)]
        arguments = {p: random.choice(values[p]) for p in nouns[noun]}
        user = f'{verb.capitalize()} a {noun}: ' + ', '.join(f'{p} {v}' for p, v in arguments.items()) + '.'
        system = ('You can call these functions:\n' + json.dumps(functions) + '\nReply with calls only, as JSON: [{"name": ..., "arguments": {...}}]')
        if i < 300:
            ask('tools', user, system, ours=True)
        else:
            tell('tools', user, json.dumps([{'name': f'{verb}_{noun}', 'arguments': arguments}]), system, ours=True)


for part in (math, code, chats, prose, sql, tools):
    part()
random.shuffle(prompts)
random.shuffle(given)
for name, rows in (('prompts', prompts), ('given', given)):
    (out / f'{name}.jsonl').write_text(''.join(json.dumps(r) + '\n' for r in rows))
    groups = sorted({r['group'] for r in rows})
    print(name, len(rows), {g: sum(r['group'] == g for r in rows) for g in groups})
