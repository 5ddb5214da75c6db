import { declared, scopeOf } from './quiesced.ts';

/**
 * A program that holds an application still and is killed meanwhile. It says each step that it has done, and waits for ever after the
 * one that is named.
 * Usage: quiesce-child DECLARATION DIRECTORY STEP
 */

const [text = '', directory = '', last = ''] = process.argv.slice(2);
const { signal } = new AbortController();
const quiescer = await declared(text);
await quiescer.prepare(scopeOf({ directory }), signal);
await done('prepare');
const holding = quiescer.hold(signal);
if (last === 'holding') await done('holding');
await holding;
await done('hold');
await quiescer.release(signal);
await done('release');
await quiescer[Symbol.asyncDispose]();

async function done(step: string): Promise<void> {
  process.stdout.write(`${step}\n`);
  if (step !== last) return;
  setInterval(() => undefined, 1000);
  await new Promise<never>(() => undefined);
}
