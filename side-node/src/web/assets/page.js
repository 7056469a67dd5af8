// Keeps an open page up to date. Without it the page is as of when it was loaded, and complete.
//
// The server sends a part of the page when it has changed, as HTML that it has rendered and escaped. What differs is put into the page element by element, so
// that focus, selection, what is unfolded and how far something is scrolled stay. The page's policy lets no script run but this file.
'use strict';

(() => {
  const main = document.getElementById('main');
  const live = document.getElementById('live');
  if (!main || !main.dataset.events) return;

  /* ---- putting in what differs ---- */

  const parse = (html) => {
    const template = document.createElement('template');
    template.innerHTML = html;
    return template.content.firstElementChild;
  };

  // What tells an element from its neighbours: its id, or the change that it stands for.
  const keyOf = (node) => (node.nodeType === 1 ? node.id || node.getAttribute('data-change') || '' : '');

  // What the person or this script has set, and the server knows nothing of.
  const kept = (element, name) => (name === 'open' && element.localName === 'details') || name === 'data-kept';

  const attributes = (old, fresh) => {
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !kept(old, name)) old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value && !kept(old, name)) old.setAttribute(name, value);
    }
  };

  const put = (old, fresh) => {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || keyOf(old) !== keyOf(fresh)) {
      old.replaceWith(fresh);
      return;
    }
    if (old.nodeType !== 1) {
      if (old.data !== fresh.data) old.data = fresh.data;
      return;
    }
    if (old.isEqualNode(fresh)) return;
    attributes(old, fresh);
    children(old, fresh);
  };

  const children = (old, fresh) => {
    const known = new Map();
    for (const child of old.children) {
      const key = keyOf(child);
      if (key) known.set(key, child);
    }
    const staying = new Set([...fresh.children].map(keyOf));
    let at = old.firstChild;
    for (const next of [...fresh.childNodes]) {
      const key = keyOf(next);
      // What has gone makes room first, so that nothing that stays is moved: moving takes the focus away.
      while (at && keyOf(at) && !staying.has(keyOf(at))) {
        const gone = at;
        at = at.nextSibling;
        gone.remove();
      }
      const same = key && known.get(key);
      if (same) {
        known.delete(key);
        if (same === at) at = at.nextSibling;
        else old.insertBefore(same, at);
        put(same, next);
      } else if (at && !key && !keyOf(at) && at.nodeName === next.nodeName) {
        const after = at.nextSibling;
        put(at, next);
        at = after;
      } else {
        if (key && next.nodeType === 1) next.classList.add('fresh');
        old.insertBefore(next, at);
      }
    }
    while (at) {
      const after = at.nextSibling;
      at.remove();
      at = after;
    }
  };

  /* ---- times ---- */

  const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', second: '2-digit' });
  const day = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });

  const words = (ms, now) => {
    const seconds = Math.round((now - ms) / 1000);
    if (seconds < -5 || !(ms < 8.64e15)) return null;
    if (seconds < 5) return 'now';
    if (seconds < 60) return `${seconds} s ago`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
    return seconds < 86400 ? clock.format(ms) : day.format(ms);
  };

  const times = (root) => {
    const now = Date.now();
    for (const time of root.querySelectorAll('time[data-ms]')) {
      const said = words(Number(time.dataset.ms), now);
      if (said && time.textContent !== said) time.textContent = said;
    }
  };

  const dress = (root) => {
    times(root);
    if (navigator.clipboard) for (const button of root.querySelectorAll('button.copy[hidden]')) button.hidden = false;
  };

  /* ---- parts ---- */

  // What is read out comes at most so often: a busy group must not talk without end.
  const QUIET = 8000;
  let saidAt = 0;
  let toSay = null;
  const say = (text) => {
    const news = document.getElementById('news');
    toSay = text;
    const wait = saidAt + QUIET - Date.now();
    if (wait > 0) {
      if (!say.timer) say.timer = setTimeout(() => { say.timer = 0; say(toSay); }, wait);
      return;
    }
    saidAt = Date.now();
    if (news && news.textContent !== toSay) news.textContent = toSay;
  };

  const selecting = (element) => {
    const selection = document.getSelection();
    return selection && !selection.isCollapsed && element.contains(selection.anchorNode);
  };

  const later = new Map();
  const take = ({ id, html }) => {
    const old = document.getElementById(id);
    const fresh = parse(html);
    if (!old || !fresh || fresh.id !== id) return;
    if (id === 'news') return say(fresh.textContent);
    // Whoever is marking something to copy it keeps it.
    if (selecting(old)) return later.set(id, { id, html });
    later.delete(id);
    dress(fresh);
    put(old, fresh);
  };
  document.addEventListener('selectionchange', () => {
    for (const part of [...later.values()]) {
      if (!selecting(document.getElementById(part.id))) take(part);
    }
  });

  /* ---- the connection ---- */

  const WORDS = { live: 'live', lost: 'the node does not answer', still: 'waiting' };
  const state = (word) => {
    if (live.dataset.state === word) return;
    live.dataset.state = word;
    live.querySelector('.word').textContent = WORDS[word];
  };

  let source = null;
  let again = 0;
  const open = () => {
    if (source || document.hidden) return;
    source = new EventSource(main.dataset.events);
    source.addEventListener('open', () => state('live'));
    source.addEventListener('part', (event) => { state('live'); take(JSON.parse(event.data)); });
    source.addEventListener('error', () => {
      state('lost');
      // The browser comes again by itself unless it was refused.
      if (source && source.readyState === EventSource.CLOSED) {
        source = null;
        clearTimeout(again);
        again = setTimeout(open, 3000);
      }
    });
  };
  const close = () => {
    if (source) source.close();
    source = null;
  };
  // A browser opens few connections to one server: tabs that nobody sees give theirs up.
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) { close(); state('still'); } else open();
  });
  addEventListener('pagehide', close);
  addEventListener('pageshow', open);

  /* ---- pointing and copying ---- */

  const lit = (id, on) => {
    for (const element of document.querySelectorAll(`[data-change="${CSS.escape(id)}"]`)) element.classList.toggle('lit', on);
  };
  for (const [type, on] of [['pointerover', true], ['pointerout', false]]) {
    main.addEventListener(type, (event) => {
      const change = event.target.closest('[data-change]');
      if (change) lit(change.dataset.change, on);
    });
  }

  const unfold = () => {
    const target = location.hash.startsWith('#block-') && document.getElementById(location.hash.slice(1));
    const details = target && target.querySelector('details');
    if (!details) return;
    details.open = true;
    details.querySelector('summary').focus({ preventScroll: true });
    target.scrollIntoView({ block: 'nearest' });
  };
  addEventListener('hashchange', unfold);

  main.addEventListener('click', async (event) => {
    const copied = event.target.closest('[data-copy]');
    if (copied && navigator.clipboard) {
      try {
        await navigator.clipboard.writeText(copied.dataset.copy);
        saidAt = 0;
        say('Copied.');
        if (copied.localName === 'button') copied.textContent = 'Copied';
      } catch { /* Not allowed: the whole of it can still be marked. */ }
      return;
    }
    const change = event.target.closest('svg [data-change]');
    if (change) {
      const row = document.getElementById(`change-${change.dataset.change}`);
      if (row) row.scrollIntoView({ block: 'nearest' });
    }
  });

  dress(document);
  setInterval(() => { if (!document.hidden) times(document); }, 1000);
  unfold();
  open();
})();
