/* Sofia-SIP: decodes every header it knows while it parses. */
#include <sofia-sip/msg.h>
#include <sofia-sip/sip.h>
#include <sofia-sip/sip_header.h>

#include "peer.h"

static bool complete(const sip_t *sip)
{
    return sip && !sip->sip_error && (sip->sip_status || (sip->sip_request && sip->sip_request->rq_url->url_host))
        && sip->sip_via && sip->sip_via->v_host && sip->sip_from && sip->sip_from->a_url->url_host && sip->sip_to
        && sip->sip_to->a_url->url_host && sip->sip_call_id && sip->sip_cseq;
}

static bool parse(const char *bytes, size_t length)
{
    msg_t *msg = msg_make(sip_default_mclass(), 0, bytes, length);
    if (!msg)
        return false;
    bool parsed = complete(sip_object(msg));
    msg_destroy(msg);
    return parsed;
}

int main(int argc, char **argv)
{
    static const struct parser parsers[] = {{"sofia-sip", parse}, {NULL, NULL}};
    return peer_main(parsers, argc, argv);
}
