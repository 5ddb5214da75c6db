import type { Quiescer, Scope } from '../../src/consistency/quiescer.ts';
import { makeQuiescer } from '../../src/consistency/quiescers.ts';
import { Rest } from '../../src/consistency/rest.ts';
import type { ApplicationState } from '../../src/model/metadata.ts';

/** The scope of an operation on one volume. */
export function scopeOf({ directory }: { readonly directory?: string } = {}): Scope {
  const subject = { volume: 'app', ...(directory !== undefined && { directory }) };
  return { subject, together: [subject], sameInstant: true, canAmend: true };
}

/**
 * What is done with an application around a snapshot.
 * @param quiescer or its declaration
 * @param take takes the snapshot, and may return its directory
 */
export async function quiesced<T>(
  quiescer: Quiescer | string,
  scope: Scope,
  take: () => T | Promise<T>,
): Promise<{ readonly taken: T; readonly state: ApplicationState }> {
  const each = typeof quiescer === 'string' ? await declared(quiescer) : quiescer;
  await using rest = await Rest.prepare([{ quiescer: each, scope }], undefined);
  await rest.hold();
  const taken = await take();
  await rest.release();
  const [state] = await rest.finish(() => (typeof taken === 'string' ? { directory: taken } : {}));
  if (!state) throw new Error('there is no state');
  const { volume: _, ...said } = state;
  return { taken, state: said };
}

/** @param text as on the command line, without "quiesce.": `freeze=pid=5` */
export function declared(text: string): Promise<Quiescer> {
  const [name = '', ...value] = text.split('=');
  return makeQuiescer(name, value.join('='));
}
