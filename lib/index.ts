export { ForetokenError } from './error';
