/** One curve: values at 1, 2, 3, … */
export interface Line {
  name: string;
  values: number[];
  dashed?: boolean;
}

const width = 860;
const height = 420;
const margin = { left: 50, right: 190, top: 36, bottom: 40 };
const colours = ['#1f77b4', '#d62728', '#2ca02c', '#9467bd', '#ff7f0e', '#17becf'];

/** Where something begins on the common axis. */
export interface Mark {
  at: number;
  name: string;
}

/**
 * An SVG of curves over a common axis that begins at 1. A dashed curve has the colour of the one before it.
 *
 * @param marks Upright lines with names. Defaults to none.
 */
export function lines(title: string, xLabel: string, curves: Line[], marks: Mark[] = []): string {
  const most = Math.max(1, ...curves.map(({ values }) => values.length));
  const top = Math.ceil(Math.max(1, ...curves.flatMap(({ values }) => values)) * 1.05);
  const x = (i: number): number => margin.left + ((width - margin.left - margin.right) * i) / Math.max(1, most - 1);
  const y = (value: number): number => height - margin.bottom - ((height - margin.top - margin.bottom) * value) / top;
  const parts: string[] = [];
  for (let tick = 0; tick <= top; ++tick)
    parts.push(
      `<line x1="${margin.left}" x2="${width - margin.right}" y1="${y(tick)}" y2="${y(tick)}" stroke="#ddd"/>`,
      text(margin.left - 8, y(tick) + 4, String(tick), 'end'),
    );
  for (const { at, name } of marks)
    parts.push(
      `<line x1="${x(at - 1)}" x2="${x(at - 1)}" y1="${margin.top}" y2="${height - margin.bottom}" stroke="#bbb"/>`,
      `<g transform="translate(${x(at - 1) + 10} ${margin.top}) rotate(90)">${text(0, 0, name, 'start')}</g>`,
    );
  let colour = -1;
  let row = 0;
  for (const { name, values, dashed } of curves) {
    if (!dashed) colour += 1;
    const stroke = `stroke="${colours[colour % colours.length]}"${dashed ? ' stroke-dasharray="4 3" opacity="0.7"' : ''}`;
    const points = values.map((value, i) => `${x(i).toFixed(1)},${y(value).toFixed(1)}`).join(' ');
    const at = margin.top + 8 + 18 * row++;
    const legend = width - margin.right + 12;
    parts.push(
      `<polyline points="${points}" fill="none" stroke-width="1.8" ${stroke}/>`,
      `<line x1="${legend}" x2="${legend + 22}" y1="${at}" y2="${at}" stroke-width="2" ${stroke}/>`,
      text(legend + 28, at + 4, name, 'start'),
    );
  }
  parts.push(
    text(margin.left, 20, title, 'start'),
    text((margin.left + width - margin.right) / 2, height - 10, `${xLabel} (1 to ${most})`, 'middle'),
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>${parts.join('')}</svg>\n`;
}

function text(x: number, y: number, content: string, anchor: 'start' | 'middle' | 'end'): string {
  const safe = content.replace(/&/g, '&amp;').replace(/</g, '&lt;');
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}">${safe}</text>`;
}
