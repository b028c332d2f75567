/** Who worked when: a lane for each thread or task, instead of who called whom. */
import { useMemo } from 'preact/hooks';
import type { JSX } from 'preact';

import { variable } from '../base/color';
import { count, duration, percent } from '../base/format';
import { Virtual } from '../base/Virtual';
import { lanes, type Piece, pieces, type Track, tracks } from './lanes';
import type { Viewer } from './viewer';

const ROW = 24;
/** Pieces that a track is drawn with at most. */
const PIECES = 300;
/** Percent of the width from which on a piece has room for a word. */
const ROOM = 4;

export function Lanes(props: { viewer: Viewer }): JSX.Element {
  const { viewer } = props;
  const visible = viewer.visible.value;
  const byTask = viewer.byTask.value;
  const rows = useMemo(() => tracks(lanes(visible, byTask)), [visible, byTask]);
  const chosen = viewer.selected.value;
  const at = useMemo(() => rows.findIndex((row) => row.nodes.some((node) => node.span.span_id === chosen)), [rows, chosen]);
  return (
    <Virtual
      id="spans"
      role="list"
      label="Lanes"
      count={rows.length}
      height={ROW}
      reveal={at < 0 ? undefined : at}
      row={(index) => {
        const row = rows[index];
        return row === undefined ? null : <TrackLine key={`${row.lane.key}${index}`} row={row} viewer={viewer} />;
      }}
    />
  );
}

function TrackLine(props: { row: Track; viewer: Viewer }): JSX.Element {
  const { row, viewer } = props;
  const { lane } = row;
  const [low, high] = viewer.window.value;
  const paint = variable(viewer.colors.value.get(lane.service) ?? 0);
  const end = viewer.model.value.end;
  return (
    <div class={row.first ? 'lane first' : 'lane'} role="listitem" aria-label={row.first ? `${lane.service}, ${lane.name}` : undefined}>
      <div class="name">
        {row.first && (
          <>
            <i class="dot" style={{ background: paint }} />
            <span class="service">{lane.service}</span>
            <span class="title">{lane.name}</span>
            {lane.failed > 0 && <small class="bad">{count(lane.failed)} failed</small>}
            <small title={`${count(lane.spans)} spans; something of it ran for ${duration(lane.busy)}`}>
              {count(lane.spans)}, {percent(lane.busy, end)}
            </small>
          </>
        )}
      </div>
      <div class="time">
        {pieces(row.nodes, low, high, PIECES).map((piece) => (
          <PieceBar key={piece.node.index} piece={piece} viewer={viewer} paint={paint} />
        ))}
      </div>
    </div>
  );
}

function PieceBar(props: { piece: Piece; viewer: Viewer; paint: string }): JSX.Element {
  const { piece, viewer } = props;
  const { node } = piece;
  const [low, high] = viewer.window.value;
  const left = Math.max(0, (100 * (piece.from - low)) / (high - low));
  const width = Math.min(100, (100 * (piece.to - low)) / (high - low)) - left;
  const chosen = piece.count === 1 && viewer.selected.value === node.span.span_id;
  const name = piece.count === 1 ? node.title : `${count(piece.count)} spans: zoom in to tell them apart`;
  return (
    <button
      type="button"
      tabIndex={-1}
      class={`piece${piece.failed ? ' failed' : ''}${chosen ? ' chosen' : ''}`}
      style={{ left: `${left}%`, width: `${width}%`, background: props.paint }}
      title={`${name}, ${duration(piece.to - piece.from)}`}
      aria-label={name}
      onClick={() => (piece.count === 1 ? viewer.select(node.span.span_id) : viewer.zoomTo(piece.from - (piece.to - piece.from), piece.to + (piece.to - piece.from)))}
    >
      {width > ROOM && name}
    </button>
  );
}
