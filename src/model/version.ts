declare const COPPICE_VERSION: string | undefined;

/** The version of this build; `dev` when it runs from its sources. */
export const version: string = typeof COPPICE_VERSION === 'string' ? COPPICE_VERSION : 'dev';
