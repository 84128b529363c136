'use strict';
(() => {
  const byId = (id) => document.getElementById(id);
  const holder = byId('data');
  document.documentElement.classList.add('js');
  for (const photo of document.querySelectorAll('.view .photo')) {
    photo.addEventListener('click', () => photo.parentElement.classList.toggle('large'));
  }
  if (!holder) return;

  const {plans, metrics} = JSON.parse(holder.textContent);
  const articles = new Map([...document.querySelectorAll('#shown .plan')]
    .map((article) => [article.dataset.plan, article]));
  const body = byId('list').tBodies[0];
  const rows = new Map([...body.rows].map((row) => [row.dataset.plan, row]));
  const slider = byId('time');
  let current = -1;

  function show(index, {scroll = false, first = false} = {}) {
    const plan = plans[Math.max(0, Math.min(plans.length - 1, index))];
    const before = plans[current];
    if (before) {
      articles.get(before.anchor).classList.remove('current');
      rows.get(before.anchor).classList.remove('current');
    }
    current = plans.indexOf(plan);
    articles.get(plan.anchor).classList.add('current');
    rows.get(plan.anchor).classList.add('current');
    slider.value = Math.round(plan.seconds * 1000);
    const text = `${plan.seconds.toFixed(2)} s, plan ${current + 1} of ${plans.length}`;
    slider.setAttribute('aria-valuetext', text);
    byId('now').textContent = text;
    for (const chart of document.querySelectorAll('.over-time')) {
      const {left, right, begin, end} = chart.dataset;
      const x = +left + (plan.seconds - begin) / (end - begin) * (right - left);
      const cursor = chart.querySelector('.cursor');
      cursor.setAttribute('transform', `translate(${x.toFixed(1)} 0)`);
      cursor.style.visibility = 'visible';
    }
    // Not at the start: the browser would scroll there.
    if (!first) history.replaceState(null, '', '#' + plan.anchor);
    if (scroll) byId('plans').scrollIntoView();
  }

  function nearest(seconds) {
    let best = 0;
    plans.forEach((plan, index) => {
      if (Math.abs(plan.seconds - seconds) < Math.abs(plans[best].seconds - seconds)) best = index;
    });
    return best;
  }

  slider.addEventListener('input', () => show(nearest(slider.value / 1000)));
  const steps = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10,
    Home: -Infinity, End: Infinity};
  // Without this an arrow would move by a millisecond, and back to the same plan.
  slider.addEventListener('keydown', (event) => {
    if (!(event.key in steps)) return;
    event.preventDefault();
    show(current + steps[event.key]);
  });
  byId('previous').addEventListener('click', () => show(current - 1));
  byId('next').addEventListener('click', () => show(current + 1));
  for (const chart of document.querySelectorAll('.over-time')) {
    chart.addEventListener('click', (event) => {
      const {left, right, begin, end} = chart.dataset;
      const point = new DOMPoint(event.clientX, event.clientY)
        .matrixTransform(chart.getScreenCTM().inverse());
      show(nearest(+begin + (point.x - left) / (right - left) * (end - begin)));
    });
  }
  body.addEventListener('click', (event) => {
    event.preventDefault();
    const row = event.target.closest('tr');
    show(plans.findIndex((plan) => plan.anchor === row.dataset.plan), {scroll: true});
  });
  byId('print-all').addEventListener('change', (event) => {
    document.body.classList.toggle('print-every', event.target.checked);
  });

  const select = byId('metric');
  const heads = [...document.querySelectorAll('#list th[data-metric]')];
  function valueOf(plan, name) {
    return name === 'seconds' ? plan.seconds : plan.figures[name];
  }
  function sort() {
    const name = select.value;
    const low = name === 'seconds' || metrics[name].worse === 'low';
    const ascending = low === byId('worst').checked;
    const ordered = [...plans].sort((a, b) => {
      const x = valueOf(a, name), y = valueOf(b, name);
      if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
      return (ascending ? x - y : y - x) || a.seconds - b.seconds;
    });
    const shown = heads.some((head) => head.dataset.metric === name);
    byId('extra').hidden = shown;
    byId('extra').textContent = shown ? '' : metrics[name].title;
    for (const plan of ordered) {
      const row = rows.get(plan.anchor);
      const cell = row.querySelector('.extra');
      const value = valueOf(plan, name);
      cell.hidden = shown;
      cell.textContent = shown ? '' : value === undefined ? '–' : value.toPrecision(3);
      body.append(row);
    }
    for (const head of heads) {
      if (head.dataset.metric === name) {
        head.setAttribute('aria-sort', ascending ? 'ascending' : 'descending');
      } else head.removeAttribute('aria-sort');
    }
  }
  select.addEventListener('change', sort);
  byId('worst').addEventListener('change', sort);
  byId('best').addEventListener('change', sort);
  for (const head of heads) {
    head.addEventListener('click', () => {
      if (select.value === head.dataset.metric) {
        byId(byId('worst').checked ? 'best' : 'worst').checked = true;
      }
      select.value = head.dataset.metric;
      sort();
    });
  }

  const named = () => plans.findIndex((plan) => '#' + plan.anchor === location.hash);
  window.addEventListener('hashchange', () => { if (named() >= 0) show(named()); });
  show(Math.max(0, named()), {first: true});
})();
