/** Milliseconds between two looks whether somebody may still have what he watches. */
const usualLook = 500;

/**
 * Passes on the messages of a stream for as long as its caller may have them: a stream can live for weeks, and a token that was revoked
 * shall end what was begun with it.
 * @param stillMay throws when he may not any more
 * @param onEnd gets what it has thrown, once
 */
export async function* whileAllowed<M>(
  messages: AsyncIterable<M>,
  stillMay: () => void,
  onEnd: (error: unknown) => void,
): AsyncIterable<M> {
  const iterator = messages[Symbol.asyncIterator]();
  const refusals: unknown[] = [];
  let refuse: (error: unknown) => void = () => {};
  const timer = setInterval(() => {
    try {
      stillMay();
    } catch (error) {
      clearInterval(timer);
      refusals.push(error);
      onEnd(error);
      refuse(error);
    }
  }, usualLook);
  try {
    for (;;) {
      const next = await new Promise<IteratorResult<M>>((resolve, reject) => {
        refuse = reject;
        iterator.next().then(resolve, reject);
      });
      if (refusals.length > 0) throw refusals[0];
      if (next.done) return;
      yield next.value;
      if (refusals.length > 0) throw refusals[0];
    }
  } finally {
    clearInterval(timer);
    // It may wait for something that never comes, until the signal of the call ends it: that is after this.
    iterator.return?.().catch(() => {});
  }
}
