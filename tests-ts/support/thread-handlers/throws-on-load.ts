export default (): string => 'never';

throw new Error('thrown while loading');
