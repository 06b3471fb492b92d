export const handler = (): string => 'never';
