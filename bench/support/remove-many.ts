/** Removes many volumes at once, in a process of its own: remove-many.ts POOL PREFIX COUNT. Begins when it hears something. */
import { once } from 'node:events';
import { library } from './pool.ts';

const [path = '', prefix = '', count = ''] = process.argv.slice(2);
await using pool = await library.openPool(path);
console.log('ready');
await once(process.stdin, 'data');
await pool.remove(Array.from({ length: Number(count) }, (_, index) => `${prefix}-${index + 1}`));
process.stdin.destroy();
