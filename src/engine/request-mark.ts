import { CoppiceError } from '../model/errors.ts';

/** Of every operation that makes something which says afterwards who has made it. */
export interface Marked {
  /**
   * A mark that what is made carries, 1 to 64 letters, digits, ".", "_", ":" or "-". Whoever has got no answer and tries again can
   * tell by it whether the first attempt has succeeded.
   */
  readonly request?: string;
}

const pattern = /^[A-Za-z0-9._:-]{1,64}$/;

/** As metadata has it: nothing where there is none. @throws CoppiceError invalid_argument */
export function requestMark({ request }: Marked): Marked {
  if (request === undefined) return {};
  if (pattern.test(request) && !request.includes('\n')) return { request };
  throw new CoppiceError(
    'invalid_argument',
    'The mark of a request is 1 to 64 letters, digits, ".", "_", ":" or "-".',
  );
}
