/** One prompt of the demo. */
export interface DemoPrompt {
  /** What kind of work it is. */
  domain: string;
  /** One line for people. */
  title: string;
  prompt: string;
  maxTokens: number;
}

const schema = `CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, city TEXT, joined DATE);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers(id), placed DATE, total REAL);
CREATE TABLE order_items (order_id INTEGER REFERENCES orders(id), product TEXT, quantity INTEGER, price REAL);`;

const code = `class ShoppingCart {
  constructor() {
    this.items = [];
    this.discount = 0;
  }

  addItem(name, price, quantity) {
    this.items.push({ name: name, price: price, quantity: quantity });
  }

  removeItem(name) {
    this.items = this.items.filter((item) => item.name !== name);
  }

  total() {
    let sum = 0;
    for (const item of this.items) {
      sum = sum + item.price * item.quantity;
    }
    return sum - sum * this.discount;
  }
}`;

const passage = `The lighthouse at Greywater Point was built in 1871, after three ships were lost on the reef in a single winter.
Its lamp burned rapeseed oil at first, then paraffin, and from 1928 it was electric. Keepers lived there with their
families until 1974, when the light was made automatic. The tower stands thirty-one metres high and its beam can be seen
for nineteen nautical miles. In 1996 the keepers' houses became a small museum, run by volunteers, and the old lens is
shown there. The reef it warns of is now a protected area, where seals rest and eiders breed.`;

const readings = `station: north, temperature: 14.2, humidity: 71
station: south, temperature: 17.9, humidity: 58
station: east, temperature: 15.4, humidity: 66
station: west, temperature: 13.1, humidity: 80
station: harbour, temperature: 16.0, humidity: 74`;

/** Work of several kinds: some of it repeats what is in the prompt, some of it does not. */
export const demoPrompts: readonly DemoPrompt[] = [
  {
    domain: 'chat',
    title: 'Plan a first vegetable garden',
    prompt:
      'I have a small sunny balcony and no experience. How do I start growing vegetables in pots? Give me clear steps.',
    maxTokens: 112,
  },
  {
    domain: 'code',
    title: 'A Python function with tests',
    prompt:
      'Write a Python function that checks whether a string is a palindrome, ignoring case and spaces, and three assert statements that test it.',
    maxTokens: 128,
  },
  {
    domain: 'sql',
    title: 'A query for a given schema',
    prompt: `Here is a database schema:\n${schema}\n\nRepeat the schema, then write one SQL query that lists the name of every customer with the total of all their orders.`,
    maxTokens: 128,
  },
  {
    domain: 'tool call',
    title: 'Arguments of a function as JSON',
    prompt:
      'You can call this function:\n{"name": "book_table", "parameters": {"restaurant": "string", "date": "string", "time": "string", "guests": "integer", "notes": "string"}}\n\n' +
      'Answer with the JSON of one call, with the fields "name" and "parameters", for: "Please book a table for four at Trattoria Nona on 2025-03-14 at 19:30, by the window."',
    maxTokens: 96,
  },
  {
    domain: 'editing',
    title: 'Change one method of a class',
    prompt: `Rewrite this JavaScript class so that addItem has a default quantity of 1. Keep everything else exactly as it is and print the whole class:\n\n${code}`,
    maxTokens: 128,
  },
  {
    domain: 'summary',
    title: 'Summarise a passage',
    prompt: `Summarise the following text in three sentences:\n\n${passage}`,
    maxTokens: 112,
  },
  {
    domain: 'maths',
    title: 'A word problem, step by step',
    prompt:
      'A train leaves at 9:15 and travels 180 km at 60 km per hour. It then waits 20 minutes and travels another 90 km at 45 km per hour. When does it arrive? Think step by step.',
    maxTokens: 112,
  },
  {
    domain: 'transform',
    title: 'A list as a table',
    prompt: `Turn this list into a Markdown table with the columns station, temperature and humidity:\n\n${readings}`,
    maxTokens: 128,
  },
];

/** What people ask a reporting service again and again: few kinds of question, other places and months. */
const questions = [
  'the names of all customers in Lyon',
  'the total of all orders placed in March 2024',
  'the number of orders of each customer',
  'the products ordered by customers in Lyon',
  'the names of all customers in Porto',
  'the total of all orders placed in April 2024',
  'the total of all orders of each customer',
  'the products ordered by customers in Porto',
  'the names of all customers in Ghent',
  'the total of all orders placed in May 2024',
  'the average order of each customer',
  'the products ordered by customers in Ghent',
  'the names of all customers in Turin',
  'the total of all orders placed in June 2024',
  'the latest order of each customer',
  'the products ordered by customers in Turin',
];

/** Requests of one kind, in their order: the schema, then a question. */
export const streamPrompts: readonly string[] = questions.map(
  (question) => `Given this database:\n${schema}\n\nWrite one SQL query for: ${question}. Then explain it.`,
);

/** Most tokens of an answer to one of {@link streamPrompts}. */
export const streamTokens = 64;
