/**
 * The client library, in a module of its own that is loaded only where there is such a database. The build leaves it in a file of its own,
 * so nothing else belongs here: a class of ours would be another one there.
 */
export { createConnection } from 'mysql2/promise';
