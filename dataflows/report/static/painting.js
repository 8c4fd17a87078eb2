// What stands on the timeline's canvas. Each function paints one layer of a Timeline (timeline.js) as it is in view, and changes nothing.

const SHAPES = 7;
const LANE = 34, STREAM = 30; // heights in pixels

/** Paints a category's shape; seven shapes and eight hues make 56 pairs, so no two categories look alike. */
function shape(path, kind, x, y, r) {
  const corners = { 1: [4, Math.PI / 4], 2: [3, -Math.PI / 2], 3: [4, 0], 4: [3, Math.PI / 2], 5: [6, 0], 6: [5, -Math.PI / 2] }[kind];
  if (!corners) { path.moveTo(x + r, y); path.arc(x, y, r, 0, 2 * Math.PI); return; }
  const [number, turn] = corners, reach = r * 1.25;
  for (let i = 0; i <= number; i++) {
    const angle = turn + (2 * Math.PI * i) / number;
    path[i ? "lineTo" : "moveTo"](x + reach * Math.cos(angle), y + reach * Math.sin(angle));
  }
}

function paintAxes(line, paint) {
  const { left, right, plot, lanes, streams, balance, narrow } = line.size;
  const rule = (y, ink) => { paint.strokeStyle = ink; paint.beginPath(); paint.moveTo(left, Math.round(y) + .5); paint.lineTo(right, Math.round(y) + .5); paint.stroke(); };
  paint.fillStyle = line.ink.soft;
  paint.textBaseline = "middle";
  paint.textAlign = "right";
  lanes.forEach(({ family, top }) => { rule(top + LANE, line.ink.grid); paint.fillText(family, left - 6, top + LANE / 2); });
  streams.forEach(({ top }) => rule(top + STREAM, line.ink.grid));
  line.decades.forEach((tick) => { const y = line.y(tick); if (y > plot.top - 1 && y < plot.bottom + 1) { rule(y, line.ink.grid); paint.fillText(tick >= 1e5 ? tick.toExponential(0) : String(tick), left - 6, y); } });
  paint.textAlign = "center";
  paint.textBaseline = "top";
  const ticks = times(line.view[0], line.view[1], Math.max(2, Math.floor((right - left) / (narrow ? 80 : 95))));
  for (const [tick, text] of ticks) {
    const x = Math.round(line.x(tick)) + .5;
    paint.strokeStyle = line.ink.grid;
    paint.beginPath(); paint.moveTo(x, 0); paint.lineTo(x, plot.bottom); paint.stroke();
    paint.fillText(text, Math.min(Math.max(x, left + 14), right - 24), plot.bottom + 7);
    if (balance) paint.fillText(text, Math.min(Math.max(x, left + 14), right - 24), balance.bottom + 7);
  }
  rule(plot.bottom, line.ink.line);
  paint.textAlign = "left";
  paint.fillText(line.currency ? `${line.currency}, log` : "", left + 4, plot.top + 4);
}

function paintEpisodes(line, paint) {
  for (const { family, top } of line.size.lanes) {
    for (const episode of line.episodes) {
      if (episode.family !== family || !episode.closed) continue;
      paint.strokeStyle = episode.key === line.selected?.key ? line.ink.accent : line.ink.line;
      paint.lineWidth = 4;
      paint.beginPath(); paint.moveTo(line.x(episode.opened), top + LANE / 2); paint.lineTo(line.x(episode.closed), top + LANE / 2); paint.stroke();
    }
  }
  paint.lineWidth = 1;
}

function paintBand(line, paint) {
  const points = line.band?.currency === line.currency ? line.band.points : [];
  if (points.length < 2) return;
  paint.fillStyle = line.ink.band;
  paint.beginPath();
  points.forEach(([time, low]) => paint.lineTo(line.x(time), line.y(low)));
  points.toReversed().forEach(([time, , , high]) => paint.lineTo(line.x(time), line.y(high)));
  paint.fill();
  paint.strokeStyle = line.ink.accent;
  paint.setLineDash([5, 4]);
  paint.beginPath();
  points.forEach(([time, , usual]) => paint.lineTo(line.x(time), line.y(usual)));
  paint.stroke();
  paint.setLineDash([]);
}

function paintPoints(line, paint) {
  const from = firstFrom(line.time, line.view[0]), to = firstFrom(line.time, line.view[1]);
  const { credit, status, texts } = line.story.transactions;
  const paths = new Map();
  const size = to - from > 3000 ? 2.4 : 3.4;
  for (let i = from; i < to; i++) {
    if (!line.shown(i)) continue;
    const kind = line.groups.indexOf(line.group[i]);
    const hollow = credit[i] || texts[status[i]] === "reversed";
    const key = kind * 2 + (hollow ? 1 : 0);
    let path = paths.get(key);
    if (!path) paths.set(key, path = new Path2D());
    shape(path, kind % SHAPES, line.x(line.time[i]), line.y(line.amount[i]), size);
  }
  paint.globalAlpha = line.marked.size ? .3 : .8;
  for (const [key, path] of paths) {
    const ink = line.ink.hues[(key >> 1) % HUES];
    if (key & 1) { paint.strokeStyle = ink; paint.lineWidth = 1.3; paint.stroke(path); } else { paint.fillStyle = ink; paint.fill(path); }
  }
  paint.globalAlpha = 1;
  paint.lineWidth = 1;
}

function paintMarked(line, paint) {
  for (const i of line.marked) {
    const x = line.x(line.time[i]), y = line.y(line.amount[i]), kind = Math.max(0, line.groups.indexOf(line.group[i]));
    const path = new Path2D();
    shape(path, kind % SHAPES, x, y, 5);
    paint.fillStyle = line.ink.hues[kind % HUES];
    paint.fill(path);
    paint.strokeStyle = line.ink.ink;
    paint.lineWidth = 2;
    paint.beginPath(); paint.arc(x, y, 10, 0, 2 * Math.PI); paint.stroke();
  }
  if (line.selected) {
    paint.strokeStyle = line.ink.accent;
    paint.setLineDash([3, 3]);
    const x = line.x(line.selected.opened);
    paint.beginPath(); paint.moveTo(x, 0); paint.lineTo(x, line.size.plot.bottom); paint.stroke();
    paint.setLineDash([]);
  }
  paint.lineWidth = 1;
}

function paintStreams(line, paint) {
  line.size.streams.forEach(({ stream, top }, i) => {
    paint.strokeStyle = line.ink.hues[i % HUES];
    paint.fillStyle = line.ink.hues[i % HUES];
    for (const [time, , seen] of stream.next) {
      const path = new Path2D();
      shape(path, 3, line.x(time), top + STREAM - 9, 4.5);
      if (seen) paint.fill(path); else { paint.lineWidth = 1.5; paint.stroke(path); }
    }
    const label = stream.about ? `${stream.name} · ${stream.about}${stream.status === "MATURE" ? "" : `, ${stream.status.toLowerCase()}`}` : stream.name;
    paint.fillStyle = line.ink.soft;
    paint.textAlign = "left"; paint.textBaseline = "middle";
    paint.fillText(label, line.size.left + 4, top + 9);
  });
  paint.lineWidth = 1;
}

function paintBalance(line, paint) {
  const { balance, left } = line.size;
  const [account] = line.balances(), fan = line.fan();
  const own = (account?.points ?? []).map(([time, text]) => [time, Number(text)]);
  const fans = (fan?.points ?? []).map(([time, quantiles]) => [time, Object.entries(quantiles).map(([q, value]) => [Number(q), value]).sort((a, b) => a[0] - b[0])]);
  const values = [0, ...own.filter(([time]) => time >= line.view[0] && time <= line.view[1]).map(([, value]) => value), ...fans.flatMap(([, row]) => row.map(([, value]) => value))];
  const [low, high] = values.reduce(([a, b], value) => [Math.min(a, value), Math.max(b, value)], [Infinity, -Infinity]);
  const y = linear(low, high, balance.bottom, balance.top);
  paint.strokeStyle = line.ink.line;
  paint.beginPath(); paint.moveTo(left, y(0)); paint.lineTo(line.size.right, y(0)); paint.stroke();
  if (fans.length) paintFan(line, paint, fans, y);
  paint.strokeStyle = line.ink.ink;
  paint.lineWidth = 1.2;
  paint.beginPath();
  const from = Math.max(0, firstFrom(own.map(([time]) => time), line.view[0]) - 1);
  own.slice(from).forEach(([time, value], i) => { if (i) paint.lineTo(line.x(time), y(own[from + i - 1][1])); paint.lineTo(line.x(time), y(value)); });
  paint.stroke();
  paint.lineWidth = 1;
  paint.fillStyle = line.ink.soft;
  paint.textAlign = "left"; paint.textBaseline = "top";
  paint.fillText(`balance${account ? `, ${account.kind}` : ""}: ${short(low)} to ${short(high)} ${line.currency}`, left + 4, balance.top - 12);
}

function paintFan(line, paint, fans, y) {
  const widest = fans[0][1].length;
  for (let inner = 0; inner < Math.floor(widest / 2); inner++) {
    const rows = fans.filter(([, row]) => row.length === widest);
    paint.fillStyle = line.ink.band;
    paint.beginPath();
    rows.forEach(([time, row]) => paint.lineTo(line.x(time), y(row[inner][1])));
    rows.toReversed().forEach(([time, row]) => paint.lineTo(line.x(time), y(row[widest - 1 - inner][1])));
    paint.fill();
  }
  paint.strokeStyle = line.ink.accent;
  paint.setLineDash([5, 4]);
  paint.beginPath();
  fans.forEach(([time, row]) => { const middle = row.find(([q]) => q === 50); if (middle) paint.lineTo(line.x(time), y(middle[1])); });
  paint.stroke();
  paint.setLineDash([]);
}
