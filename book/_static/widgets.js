// ipywidgets typesets its labels through MathJax 2's queue; the book has MathJax 3. Without this bridge every page
// that has both a widget and an equation would throw. It must stand before "load", when the widgets are drawn, and
// after MathJax (a deferred script) has put its own object in place of its configuration.
document.addEventListener("DOMContentLoaded", () => {
  const mathjax = window.MathJax;
  if (!mathjax || mathjax.Hub) return;
  mathjax.Hub = {
    Queue: ([, , element]) => mathjax.startup.promise.then(() => mathjax.typesetPromise([element])),
  };
});
