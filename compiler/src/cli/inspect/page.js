'use strict';
// A click on a box or a row marks what was made from the same nodes of the model, everywhere.
const numbers = e => (e.dataset.n || '').split(' ').filter(n => n);
function mark(from) {
  const wanted = new Set(numbers(from)), again = from.classList.contains('on');
  document.querySelectorAll('.on').forEach(e => e.classList.remove('on'));
  if (again) return;
  const seen = new Set();
  document.querySelectorAll('[data-n]').forEach(e => {
    if (!numbers(e).some(n => wanted.has(n))) return;
    e.classList.add('on');
    const pane = e.closest('.g');
    if (!pane || seen.has(pane) || pane.contains(from)) return;
    seen.add(pane);
    const y = e.getBoundingClientRect().top - pane.getBoundingClientRect().top + pane.scrollTop;
    pane.scrollTo({ top: y - pane.clientHeight / 2, behavior: 'smooth' });
  });
}
document.addEventListener('click', event => {
  const head = event.target.closest('th');
  if (head) return sort(head);
  const from = event.target.closest('[data-n]');
  if (from) mark(from);
});
function sort(head) {
  const body = head.closest('table').tBodies[0], k = head.cellIndex;
  const down = head.dataset.down !== '1';
  head.dataset.down = down ? '1' : '0';
  const value = row => row.cells[k].dataset.v ?? row.cells[k].textContent;
  const number = [...body.rows].every(row => !isNaN(parseFloat(value(row))));
  const compare = (a, b) => number ? value(a) - value(b) : value(a).localeCompare(value(b));
  const rows = [...body.rows].sort((a, b) => down === number ? compare(b, a) : compare(a, b));
  body.append(...rows);
}
document.querySelectorAll('input[data-for]').forEach(input => {
  input.addEventListener('input', () => {
    const words = input.value.toLowerCase().split(/\s+/);
    for (const row of document.getElementById(input.dataset.for).tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every(word => text.includes(word));
    }
  });
});
