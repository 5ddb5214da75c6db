/** Makes three deferred clones that are asked for at once, for a trace of the system calls: clone-once.ts POOL PREFIX. */
import { library } from './pool.ts';

const [path = '', prefix = ''] = process.argv.slice(2);
await using pool = await library.openPool(path);
await Promise.all(
  [0, 1, 2].map((index) => pool.clone('template', `${prefix}-${index}`, { durability: 'deferred' })),
);
