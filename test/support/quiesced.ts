import type { Quiescer, Scope } from '../../src/consistency/quiescer.ts';
import { makeQuiescer } from '../../src/consistency/quiescers.ts';
import { timeLimit } from '../../src/linux/time-limit.ts';
import type { ApplicationState } from '../../src/model/metadata.ts';

export interface QuiescedPlace {
  readonly directory?: string;
  readonly together?: Scope['together'];
}

/** The scope of an operation on one volume. */
export function scopeOf({ directory, together }: QuiescedPlace = {}): Scope {
  const subject = { volume: 'app', ...(directory !== undefined && { directory }) };
  return { subject, together: together ?? [subject], sameInstant: true, canAmend: true };
}

/** What is done with an application around a snapshot, in the order and with the limits that the contract of quiescers promises. */
export async function quiesced<T>(
  quiescer: Quiescer | string,
  scope: Scope,
  take: () => T | Promise<T>,
): Promise<{ readonly taken: T; readonly state: ApplicationState }> {
  await using each = typeof quiescer === 'string' ? await declared(quiescer) : quiescer;
  const { limits } = each;
  await within(limits.prepare, (signal) => each.prepare(scope, signal));
  let taken: T;
  try {
    await within(limits.hold, (signal) => each.hold(signal));
    taken = await take();
  } catch (error) {
    await within(limits.release, (signal) => each.release(signal)).catch(() => undefined);
    throw error;
  }
  await within(limits.release, (signal) => each.release(signal));
  return { taken, state: await within(limits.finish, (signal) => each.finish({}, signal)) };
}

/** @param text as on the command line, without "quiesce.": `freeze=pid=5` */
export function declared(text: string): Promise<Quiescer> {
  const [name = '', ...value] = text.split('=');
  return makeQuiescer(name, value.join('='));
}

async function within<T>(milliseconds: number, step: (signal: AbortSignal) => Promise<T>): Promise<T> {
  using limit = timeLimit(milliseconds, `it took more than ${milliseconds / 1000} s.`);
  return await step(limit.signal);
}
