import pg from 'pg';

/** PostgreSQL's protocol. In a file of its own when it is built: only who talks to a server reads it. */
export const Client: typeof pg.Client = pg.Client;
