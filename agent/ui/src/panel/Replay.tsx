/** Sends a captured request again: what goes where is shown first, and only a press on the button sends it. */
import { useEffect, useRef, useState } from 'preact/hooks';
import type { JSX } from 'preact';

import { ask, post, Problem } from '../base/api';
import { duration } from '../base/format';
import { Body } from './Body';
import { Pairs, Section } from './parts';

interface Plan {
  refused: string;
  method: string;
  target: string;
  host: string;
  to: string;
  own: boolean;
  headers: [string, string][];
  body: string;
  hidden: string[];
}

interface Answer {
  status: number;
  headers: [string, string][];
  body: string;
  cut: boolean;
  duration_ns: number;
}

/** Methods that change nothing. */
const HARMLESS = ['GET', 'HEAD', 'OPTIONS'];

export function Replay(props: { trace: string; span: string; close: () => void }): JSX.Element {
  const path = `traces/${props.trace}/replay`;
  const sheet = useRef<HTMLDialogElement>(null);
  const [plan, setPlan] = useState<Plan | null>(null);
  const [problem, setProblem] = useState('');
  const [values, setValues] = useState<string[]>([]);
  const [more, setMore] = useState('');
  const [agreed, setAgreed] = useState(false);
  const [sending, setSending] = useState(false);
  const [answer, setAnswer] = useState<Answer | null>(null);

  const fail = (error: unknown) => setProblem(error instanceof Problem ? error.message : String(error));
  useEffect(() => {
    sheet.current?.showModal();
    ask<Plan>(`${path}?span=${props.span}`).then((found) => {
      setPlan(found);
      setValues(found.hidden.map(() => ''));
    }, fail);
  }, []);

  const send = async () => {
    if (plan === null) return;
    setSending(true);
    setProblem('');
    setAnswer(null);
    try {
      setAnswer(await post<Answer>(path, { span: props.span, to: plan.to, values, headers: lines(more) }));
    } catch (error) {
      fail(error);
    }
    setSending(false);
  };
  const isReady = plan !== null && plan.refused === '' && !sending && values.every((value) => value !== '') && (plan.own || agreed);

  return (
    <dialog class="replay" ref={sheet} aria-label="Replay" onClose={props.close} onClick={(event) => event.target === sheet.current && props.close()}>
      <h2>Send this request again</h2>
      {plan !== null && plan.refused !== '' && (
        <p class="banner warn" role="alert">
          It cannot be sent: {plan.refused}.
        </p>
      )}
      {plan !== null && plan.refused === '' && (
        <>
          <p>
            It goes to <b>{plan.to}</b>
            {plan.own ? ', this machine.' : ', which is not this machine.'}
            {!HARMLESS.includes(plan.method) && ` ${plan.method} may change something there.`}
          </p>
          <pre class="text">{`${plan.method} ${plan.target} HTTP/1.1\nhost: ${plan.host}\n${plan.headers.map(([name, value]) => `${name}: ${value}\n`).join('')}\n${plan.body}`}</pre>
          {plan.hidden.map((hint, at) => (
            <label key={at}>
              Hidden: {hint}
              <input
                type="text"
                autocomplete="off"
                spellcheck={false}
                value={values[at] ?? ''}
                onInput={(event) => setValues(values.map((value, other) => (other === at ? event.currentTarget.value : value)))}
              />
            </label>
          ))}
          <label>
            Header fields that were not captured, a line each
            <textarea rows={2} spellcheck={false} placeholder="authorization: Bearer …" value={more} onInput={(event) => setMore(event.currentTarget.value)} />
          </label>
          {!plan.own && (
            <label class="check">
              <input type="checkbox" checked={agreed} onChange={(event) => setAgreed(event.currentTarget.checked)} /> Send it to {plan.to}, another machine
            </label>
          )}
        </>
      )}
      {problem !== '' && (
        <p class="banner bad" role="alert">
          {problem}
        </p>
      )}
      <p class="dialog-actions">
        <button type="button" class="primary" disabled={!isReady} onClick={() => void send()}>
          {sending ? 'Sending' : 'Send'}
        </button>
        <button type="button" onClick={props.close}>
          Close
        </button>
      </p>
      {answer !== null && (
        <div class="replay-answer" role="region" aria-label="Answer">
          <Section title="Answer" note={duration(answer.duration_ns)}>
            <p class="line">
              <b class={answer.status >= 500 ? 'bad' : ''}>{answer.status}</b>
            </p>
            <Pairs pairs={answer.headers} />
            <Body name="Response body" content={answer.body} encoding={undefined} truncated={answer.cut} bytes={undefined} />
          </Section>
        </div>
      )}
    </dialog>
  );
}

function lines(text: string): [string, string][] {
  return text.split('\n').flatMap((line): [string, string][] => {
    const at = line.indexOf(':');
    return at > 0 ? [[line.slice(0, at).trim(), line.slice(at + 1).trim()]] : [];
  });
}
