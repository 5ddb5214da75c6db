import { CoppiceError, type ErrorData } from '../../model/errors.ts';

/** An error on its way out of a thread, as data: its class does not come along. */
export type CarriedFailure = { readonly known: ErrorData } | { readonly message: string };

export function carried(error: unknown): CarriedFailure {
  if (error instanceof CoppiceError) return { known: error.toJSON() };
  return { message: error instanceof Error ? error.message : String(error) };
}

/** The error again, on the other side. */
export function revived(failure: CarriedFailure): Error {
  if ('message' in failure) return new Error(failure.message);
  return new CoppiceError(failure.known.code, failure.known.message, failure.known);
}
